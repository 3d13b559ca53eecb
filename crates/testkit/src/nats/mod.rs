//! A NATS server of a test's own, which can be killed and started again, and what is done to those who use it.
//!
//! ```text
//!   mod.rs     the server        wire.rs   its protocol, as much as is needed, without the library that is tested
//!   flood.rs   publishes copies and garbage        proxy.rs   loses, repeats and reorders what passes
//! ```

mod flood;
mod proxy;
mod wire;

pub use flood::Flood;
pub use proxy::{Mischief, Proxy};
pub use wire::{Heard, Plain};

use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// The `nats-server` to use: `RECODE_NATS_SERVER`, that of `make setup`, or the one on PATH.
/// # Errors
/// There is none; the sentence says how to get one.
pub fn program() -> Result<PathBuf> {
    if let Some(own) = std::env::var_os("RECODE_NATS_SERVER") {
        let own = PathBuf::from(own);
        ensure!(
            own.is_file(),
            "RECODE_NATS_SERVER={} is no file: correct or unset it",
            own.display()
        );
        return Ok(own);
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/nats-server");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = std::env::split_paths(&path)
        .chain(["/usr/sbin".into()])
        .map(|folder| folder.join("nats-server"));
    std::iter::once(tools)
        .chain(installed)
        .find(|program| program.is_file())
        .context("there is no nats-server: run `make setup`, or set RECODE_NATS_SERVER to one")
}

/// A server on a port of its own at 127.0.0.1, killed when dropped.
#[derive(Debug)]
pub struct Server {
    program: PathBuf,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
    port: u16,
    /// `None`: it was killed.
    child: Option<Child>,
}

impl Server {
    /// Starts one on a free port.
    /// # Errors
    /// There is no program for it, or it does not listen.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// As above, with more arguments for `nats-server`.
    /// # Errors
    /// As above.
    pub fn start_with(arguments: &[&str]) -> Result<Self> {
        let mut server = Self {
            program: program()?,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            folder: tempfile::tempdir()?,
            port: 0,
            child: None,
        };
        server.restart()?;
        Ok(server)
    }

    /// Where it listens, or listened before it was killed.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// As programs are told.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    /// kill -9. What was under way is lost.
    /// # Errors
    /// What the system said.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts it again where it was, after killing it if need be.
    /// # Errors
    /// It does not listen.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let port = match self.port {
            0 => "-1".to_owned(),
            port => port.to_string(),
        };
        let log = self.folder.path().join("log");
        let child = Command::new(&self.program)
            .args(["-a", "127.0.0.1", "-p", &port, "--ports_file_dir"])
            .arg(self.folder.path())
            .arg("-l")
            .arg(&log)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        let ports = format!("nats-server_{}.ports", child.id());
        let ports = self.folder.path().join(ports);
        self.child = Some(child);
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Some(port) = fs::read(&ports).ok().and_then(|text| port_of(&text)) {
                self.port = port;
                if TcpStream::connect(self.address()).is_ok() {
                    return Ok(());
                }
            }
            let child = self.child.as_mut().expect("it was just started");
            if let Some(status) = child.try_wait()? {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("nats-server has ended with {status}: {}", said.trim());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("nats-server does not listen after {} s", PATIENCE.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed, which is as good.
        let _ = self.kill();
    }
}

/// The port in the file of ports, once it is whole.
fn port_of(text: &[u8]) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_slice(text).ok()?;
    let url = ports["nats"][0].as_str()?;
    url.rsplit(':').next()?.parse().ok()
}
