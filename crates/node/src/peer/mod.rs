//! A node as a neighbour: the nodes of one site fetch each byte of a remote Source once and serve it to each other, and the
//! Chunks they make to whoever joins them.
//!
//! ```text
//!   home.rs       who fetches which part of a Source; pure
//!   standing.rs   who is left alone for a while, since it served badly; pure
//!   shelf.rs      what this node has fetched for its site
//!   made.rs       the Chunks that it made lately
//!   ask.rs        asking a neighbour
//!   serve.rs      answering one
//!   near.rs       a Source read through all that, with the store to fall back on
//!   maker.rs      a Chunk read from whoever made it
//!   flags.rs      what a node is told
//! ```
//!
//! Whom a node serves and asks comes from the Leader ([`Neighbours::site_is`]). Nothing here is needed for a right result: a
//! neighbour that is gone, slow, busy or wrong costs bytes from the store.

pub mod ask;
pub mod flags;
pub mod home;
pub mod made;
pub mod maker;
pub mod near;
pub mod serve;
pub mod shelf;
pub mod standing;

pub use near::Near;

use ask::Lines;
use recode_types::PeerTraffic;
use shelf::Shelf;
use standing::Standing;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// How a node serves its site.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where its neighbours reach that, `HOST:PORT`; `None`: at the same address.
    pub advertise: Option<String>,
    /// Listens where other machines reach it, although nobody is asked who they are.
    pub insecure: bool,
    /// Bytes of Sources and Chunks that it keeps for its neighbours, at most.
    pub keep_bytes: u64,
}

/// A node cannot serve its site.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not say where it is.
    #[error(
        "--peer-listen needs to know the site: add --label site=NAME, the same on all machines between which bytes cost nothing"
    )]
    NoSite,
    /// Anybody could read through it.
    #[error(
        "{0} can be reached from other machines and nobody is asked who they are: let --peer-listen be on 127.0.0.1, or say --insecure"
    )]
    Exposed(SocketAddr),
    /// Neighbours cannot dial it.
    #[error("{0} is no address that others can dial: say --peer-advertise HOST:PORT")]
    Nowhere(SocketAddr),
    /// Too little scratch.
    #[error(
        "--peer-listen takes a quarter of --scratch-budget, which is too small for that: give it {least} or more, or leave out --peer-listen",
        least = "256MB"
    )]
    Cramped,
    /// The address is taken, or not of this machine.
    #[error("cannot listen on {address} (--peer-listen)")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No scratch.
    #[error(transparent)]
    Scratch(#[from] crate::scratch::Error),
}

/// Bytes moved so far.
#[derive(Debug, Default)]
pub struct Traffic {
    from_store: AtomicU64,
    from_peers: AtomicU64,
    to_peers: AtomicU64,
}

impl Traffic {
    fn add(count: &AtomicU64, bytes: u64) {
        count.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Now.
    pub fn read(&self) -> PeerTraffic {
        PeerTraffic {
            from_store: self.from_store.load(Ordering::Relaxed),
            from_peers: self.from_peers.load(Ordering::Relaxed),
            to_peers: self.to_peers.load(Ordering::Relaxed),
        }
    }
}

/// The site as one of its nodes sees it. Cheap to clone.
#[derive(Clone)]
pub struct Neighbours {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where this node is reached.
    own: String,
    site: Mutex<Arc<[String]>>,
    standing: Mutex<Standing>,
    lines: Lines,
    shelf: Shelf,
    traffic: Arc<Traffic>,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Neighbours").field(&self.shared.own).finish()
    }
}

impl Neighbours {
    /// Those of a node that is reached at `own` and has `room_bytes` below `scratch` for what it fetches for others. It is alone
    /// before it hears of others.
    /// # Errors
    /// Scratch cannot be used.
    pub fn new(
        own: String,
        scratch: &Path,
        room_bytes: u64,
    ) -> Result<Self, crate::scratch::Error> {
        let traffic = Arc::new(Traffic::default());
        Ok(Self {
            shared: Arc::new(Shared {
                own,
                site: Mutex::new(Arc::from([])),
                standing: Mutex::default(),
                lines: Lines::default(),
                shelf: Shelf::create(scratch, room_bytes, Arc::clone(&traffic))?,
                traffic,
            }),
        })
    }

    /// Where this node is reached.
    pub fn own(&self) -> &str {
        &self.shared.own
    }

    /// The nodes of the site are these, this one among them.
    pub fn site_is(&self, addresses: Vec<String>) {
        tracing::info!(
            nodes = addresses.len(),
            "the nodes of this site that serve each other"
        );
        self.shared.lines.only(&addresses);
        *lock(&self.shared.site) = addresses.into();
    }

    /// Bytes moved so far.
    pub fn traffic(&self) -> PeerTraffic {
        self.shared.traffic.read()
    }

    /// It served badly: it is asked nothing for a while.
    fn blame(&self, node: &str, why: &str) {
        if lock(&self.shared.standing).blame(node, Instant::now()) {
            tracing::warn!(node, why, "a neighbour is left alone for a while");
        }
    }

    fn is_asked(&self, node: &str) -> bool {
        lock(&self.shared.standing).is_asked(node, Instant::now())
    }

    fn site(&self) -> Arc<[String]> {
        Arc::clone(&lock(&self.shared.site))
    }
}

/// What is behind these locks is right after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
