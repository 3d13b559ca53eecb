//! Things that nobody touches unless something got out.

use anyhow::{Context as _, Result};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What got out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A file was opened that was not named.
    Read,
    /// A file was made, changed or removed outside the folder of the run.
    Write,
    /// A TCP connection arrived.
    Tcp,
    /// A UDP packet arrived.
    Udp,
    /// A name was asked for.
    Dns,
    /// Another program was started.
    Spawn,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Write,
        Self::Tcp,
        Self::Udp,
        Self::Dns,
        Self::Spawn,
    ];

    /// As in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Dns => "dns",
            Self::Spawn => "spawn",
        }
    }
}

/// Where the canaries sit, for whoever writes attacks.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Files that nothing names: `secret.txt`, `.ts`, `.mp4`, `.srt`, `.sub`.
    pub secrets: PathBuf,
    /// A folder that everybody may write and nothing names.
    pub outside: PathBuf,
    /// A program that nothing starts.
    pub program: PathBuf,
    /// A port of 127.0.0.1 where a TCP connection is seen.
    pub tcp: u16,
    /// A port of 127.0.0.1 where a packet is seen.
    pub udp: u16,
}

/// A name that only our own resolver hears of.
pub const HOST: &str = "canary.example";

/// The canaries of one folder. The resolver's port is shared by the machine, so there is one set at a time.
pub struct Canaries {
    /// Where they are.
    pub targets: Targets,
    watch: OwnedFd,
    watched: BTreeMap<i32, Kind>,
    tcp: TcpListener,
    connections: Cell<u32>,
    udp: UdpSocket,
    dns: UdpSocket,
}

impl Canaries {
    /// Sets them up in `folder`. `video`: a short film that becomes a secret.
    /// # Errors
    /// The system refuses; port 53 takes root and a network of one's own.
    pub fn set(folder: &Path, video: &Path) -> Result<Self> {
        let place = |name: &str, mode: u32| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            Ok(path)
        };
        let (secrets, outside) = (place("secrets", 0o755)?, place("outside", 0o777)?);
        let programs = place("programs", 0o755)?;
        for ending in ["ts", "mp4"] {
            fs::copy(video, secrets.join(format!("secret.{ending}")))?;
        }
        let words = "1\n00:00:00,000 --> 00:00:01,000\ncanary\n";
        for ending in ["txt", "srt", "sub", "ass", "cube"] {
            fs::write(secrets.join(format!("secret.{ending}")), words)?;
        }
        fs::write(outside.join("victim"), "untouched")?;
        fs::set_permissions(outside.join("victim"), fs::Permissions::from_mode(0o666))?;
        let program = programs.join("canary");
        fs::copy("/bin/true", &program)?;
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let changes = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO;
        let mut watched = BTreeMap::new();
        for (path, flags, kind) in [
            (&secrets, WatchFlags::OPEN, Kind::Read),
            (&outside, changes, Kind::Write),
            (&programs, WatchFlags::OPEN, Kind::Spawn),
        ] {
            watched.insert(inotify::add_watch(&watch, path, flags)?, kind);
        }
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let tcp = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let udp = UdpSocket::bind("127.0.0.1:0")?;
        let dns = UdpSocket::bind("127.0.0.1:53").context("the port of the resolver is taken")?;
        for socket in [&udp, &dns] {
            socket.set_nonblocking(true)?;
        }
        let port = udp.local_addr()?.port();
        Ok(Self {
            targets: Targets {
                secrets,
                outside,
                program,
                tcp,
                udp: port,
            },
            watch,
            watched,
            tcp: listener,
            connections: Cell::new(0),
            udp,
            dns,
        })
    }

    /// Ends all connections at once, so that whoever made one does not wait for an answer. Says whether `own` was among them,
    /// which does not count.
    /// # Errors
    /// What the system said.
    pub fn answer(&self, own: Option<SocketAddr>) -> Result<bool> {
        let mut seen = false;
        loop {
            match self.tcp.accept() {
                Ok((_, from)) if own == Some(from) => seen = true,
                Ok(_) => self.connections.set(self.connections.get() + 1),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(seen),
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// What happened since the last call.
    /// # Errors
    /// What the system said.
    pub fn hits(&self) -> Result<BTreeSet<Kind>> {
        let mut hits = BTreeSet::new();
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut room);
        loop {
            match events.next() {
                Ok(event) => {
                    // Who lists a folder opens it; what matters is what is in it.
                    if !event.events().contains(ReadFlags::ISDIR)
                        && let Some(kind) = self.watched.get(&event.wd())
                    {
                        hits.insert(*kind);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => break,
                Err(e) => return Err(e.into()),
            }
        }
        // They come in order: once our own is there, so is every one before it.
        let own = TcpStream::connect(("127.0.0.1", self.targets.tcp))?;
        while !self.answer(own.local_addr().ok())? {
            std::thread::yield_now();
        }
        if self.connections.replace(0) > 0 {
            hits.insert(Kind::Tcp);
        }
        for (socket, kind) in [(&self.udp, Kind::Udp), (&self.dns, Kind::Dns)] {
            let mut packet = [0; 2048];
            while socket.recv(&mut packet).is_ok() {
                hits.insert(kind);
            }
        }
        Ok(hits)
    }
}
