//! Where the processes of a cluster reach each other: the loopback, or a network of their own whose links can be cut.
//!
//! ```text
//!   namespace of the hub:  bridge 10.99.0.254 ── v1 ── v2 ── v3 ── ...          clients are here
//!                                               │     │     │
//!   namespace of a member:                     eth0  eth0  eth0                  10.99.0.<member>
//! ```
//!
//! Every network is in namespaces of its own, so that several may exist at once, and all of it goes with its namespaces.

use anyhow::{Context as _, Result, bail, ensure};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Port of every coordinator in a network of its own.
const PORT: u16 = 7420;

/// Ports of the loopback that are looked at: below those that the kernel gives to outgoing connections, or a process that
/// starts again could find its own taken by a client.
const FIRST_PORT: u16 = 17_000;
const LAST_PORT: u16 = 32_000;

/// Number of a process in its network, from 1.
pub type Member = u8;

/// See the module.
#[derive(Debug)]
pub enum Network {
    /// Ports of the loopback; nothing can be cut.
    Loopback {
        /// Of each member, from the first.
        ports: Vec<u16>,
    },
    /// See the module.
    Own(Namespaces),
}

impl Network {
    /// The loopback, for so many members. The ports are free now; somebody else may take them before they are used.
    /// # Errors
    /// What the system said.
    pub fn loopback(members: Member) -> Result<Self> {
        // From somewhere else in every process, or two of them at once would choose the same.
        let start = FIRST_PORT + (std::process::id() % 1000) as u16 * 10;
        let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
        let ports: Vec<u16> = (start..LAST_PORT)
            .filter(free)
            .take(usize::from(members))
            .collect();
        ensure!(ports.len() == usize::from(members), "no port is free");
        Ok(Self::Loopback { ports })
    }

    /// Where a member listens.
    pub fn address(&self, member: Member) -> SocketAddrV4 {
        match self {
            Self::Loopback { ports } => {
                SocketAddrV4::new(Ipv4Addr::LOCALHOST, ports[usize::from(member) - 1])
            }
            Self::Own(_) => SocketAddrV4::new(Namespaces::address(member), PORT),
        }
    }

    /// A command that runs where `member` is; `None`: where clients are. It becomes `program` without a process between.
    pub fn command(&self, member: Option<Member>, program: &Path) -> Command {
        match self {
            Self::Loopback { .. } => Command::new(program),
            Self::Own(own) => {
                let mut command = Command::new("nsenter");
                let namespace = match member {
                    None => own.hub(),
                    Some(member) => own.member(member),
                };
                command.arg(format!("--net=/run/netns/{namespace}"));
                command.arg(program);
                command
            }
        }
    }

    /// The network that can be cut.
    /// # Errors
    /// It is the loopback.
    pub fn own(&self) -> Result<&Namespaces> {
        match self {
            Self::Own(own) => Ok(own),
            Self::Loopback { .. } => bail!("nothing can be cut on the loopback"),
        }
    }
}

/// A network of namespaces; removed when dropped.
#[derive(Debug)]
pub struct Namespaces {
    name: String,
    members: Member,
}

impl Namespaces {
    /// Makes one for so many members.
    /// # Errors
    /// It takes root and iproute2.
    pub fn new(members: Member) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        ensure!(
            rustix::process::geteuid().is_root(),
            "namespaces and disks that can be broken take root: run it as root"
        );
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let own = Self {
            name: format!("recode-{}-{count}", std::process::id()),
            members,
        };
        let hub = own.hub();
        ip(&format!("netns add {hub}"))?;
        ip(&format!("-n {hub} link set lo up"))?;
        ip(&format!("-n {hub} link add br0 type bridge"))?;
        ip(&format!(
            "-n {hub} addr add {}/24 dev br0",
            Self::address(254)
        ))?;
        ip(&format!("-n {hub} link set br0 up"))?;
        for member in 1..=members {
            let namespace = own.member(member);
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
            ip(&format!(
                "-n {hub} link add v{member} type veth peer name eth0 netns {namespace}"
            ))?;
            ip(&format!("-n {hub} link set v{member} master br0 up"))?;
            let address = Self::address(member);
            ip(&format!("-n {namespace} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
        }
        Ok(own)
    }

    fn address(member: Member) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, 0, member)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.name)
    }

    fn member(&self, member: Member) -> String {
        format!("{}-{member}", self.name)
    }

    /// Cuts a member off from everybody.
    /// # Errors
    /// What `ip` said.
    pub fn cut(&self, member: Member) -> Result<()> {
        ip(&format!("-n {} link set v{member} down", self.hub()))
    }

    /// Whether it is.
    /// # Errors
    /// What `ip` said.
    pub fn is_cut(&self, member: Member) -> Result<bool> {
        let shown = told(&format!("-n {} -o link show v{member}", self.hub()))?;
        Ok(!shown.contains("LOWER_UP"))
    }

    /// Puts its link back.
    /// # Errors
    /// What `ip` said.
    pub fn join(&self, member: Member) -> Result<()> {
        ip(&format!("-n {} link set v{member} up", self.hub()))
    }

    /// Drops whatever `from` sends to `to`; the other direction stays.
    /// # Errors
    /// What `ip` said.
    pub fn mute(&self, from: Member, to: Member) -> Result<()> {
        let (namespace, to) = (self.member(from), Self::address(to));
        ip(&format!("-n {namespace} route add blackhole {to}/32"))
    }

    /// Whether it is dropped.
    /// # Errors
    /// What `ip` said.
    pub fn is_mute(&self, from: Member, to: Member) -> Result<bool> {
        let (namespace, to) = (self.member(from), Self::address(to));
        Ok(told(&format!("-n {namespace} route show type blackhole"))?.contains(&to.to_string()))
    }

    /// Ends that.
    /// # Errors
    /// What `ip` said.
    pub fn unmute(&self, from: Member, to: Member) -> Result<()> {
        let (namespace, to) = (self.member(from), Self::address(to));
        ip(&format!("-n {namespace} route del blackhole {to}/32"))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in (1..=self.members)
            .map(|member| self.member(member))
            .chain([self.hub()])
        {
            if let Err(error) = ip(&format!("netns del {namespace}")) {
                eprintln!("recode-bench: a network stays behind: {error:#}");
            }
        }
    }
}

fn ip(arguments: &str) -> Result<()> {
    told(arguments).map(|_| ())
}

fn told(arguments: &str) -> Result<String> {
    let done = Command::new("ip")
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output()
        .context("cannot run ip: install iproute2")?;
    ensure!(
        done.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
