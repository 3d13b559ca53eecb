//! The one place where the node is put together.

use crate::actor::reporter::Reporter;
use crate::actor::workers::Workers;
use crate::leaving::spot::look_out;
use crate::leaving::{Farewell, Habits, Leave};
use crate::peer::{self, Neighbours, serve};
use crate::proof::{Meter, Prover};
use crate::ration::Rations;
use crate::run::{Context, Inputs};
use crate::scratch::Scratch;
use crate::slots::Slots;
use crate::source::Sources;
use recode_media::memory::{self, Allowance};
use recode_media::toolchain::Ffmpeg;
use recode_mesh::{Leader, Link, nats};
use recode_types::NodeHello;
use recode_types::command::CAPABILITY;
use recode_types::node::SITE;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Light Attempts (probe, audio, stitch) beside the encoders.
const LIGHT_SLOTS: u32 = 4;

/// How often it is counted what Attempts share of scratch.
const COUNT_SHARED: std::time::Duration = std::time::Duration::from_millis(200);

/// What a node needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the coordinator, `http://HOST:PORT`; not used with `nats`.
    pub coordinator: String,
    /// Reach the coordinators by NATS alone. `None`: by gRPC.
    pub nats: Option<nats::Settings>,
    /// Directory for scratch; emptied at start.
    pub scratch: PathBuf,
    /// Bytes of it that may be used. `None`: as many as there are.
    pub scratch_budget: Option<u64>,
    /// Encoders at once. `None`: one per core.
    pub workers: Option<u32>,
    /// Encodes held beyond those that run. `None`: one.
    pub ahead: Option<u32>,
    /// The FFmpeg to use.
    pub ffmpeg: Arc<Ffmpeg>,
    /// Directory and byte budget for Chunks kept beyond their Job; `None`: nothing is kept.
    pub cache: Option<(PathBuf, u64)>,
    /// What its operator says of it, as in `compute=intel`: jobs may ask for it.
    pub labels: BTreeMap<String, String>,
    /// When it leaves of its own accord.
    pub habits: Habits,
    /// How it serves the other nodes of its site, and is served by them. `None`: neither.
    pub peer: Option<peer::Config>,
    /// Encoders are tried before they are offered; what came of it is remembered in this file. `None`: what FFmpeg lists is
    /// offered untried.
    pub measured: Option<PathBuf>,
}

/// The node could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the coordinator is wrong.
    #[error(transparent)]
    Address(#[from] recode_mesh::Error),
    /// No scratch.
    #[error(transparent)]
    Scratch(#[from] crate::scratch::Error),
    /// It cannot serve its site.
    #[error(transparent)]
    Peer(#[from] peer::Error),
}

/// A running node.
#[derive(Debug)]
pub struct Running {
    stop: CancellationToken,
    reporter: JoinHandle<Farewell>,
    wishes: mpsc::Sender<Leave>,
    _lookout: AbortOnDropHandle<()>,
    _accountant: AbortOnDropHandle<()>,
    prover: Option<JoinHandle<()>>,
    server: Option<JoinHandle<()>>,
}

impl Running {
    /// Ends all Attempts and their child processes, and waits for it.
    pub async fn stop(self) {
        self.stop.cancel();
        // A panic of the reporter has been logged by its hook; there is nothing left to end.
        let _ = self.reporter.await;
        if let Some(prover) = self.prover {
            let _ = prover.await;
        }
        if let Some(server) = self.server {
            let _ = server.await;
        }
    }

    /// Has the node finish what it can, give back the rest, and end; see [`Running::left`].
    pub async fn leave(&self, wish: Leave) {
        // One that has ended has left.
        let _ = self.wishes.send(wish).await;
    }

    /// Waits until the node has left, of its own accord or because it was asked to. `None`: its own code failed.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn left(&mut self) -> Option<Farewell> {
        (&mut self.reporter).await.ok()
    }
}

/// Starts a node; it dials the coordinator in the background.
/// # Errors
/// [`Error`]: nothing was started.
/// # Panics
/// Outside a tokio runtime.
pub fn start(config: Config) -> Result<Running, Error> {
    let name = name_of(&config.scratch);
    let link = match config.nats {
        Some(settings) => Link::nats(settings, format!("node {name}")),
        None => Link::Grpc(Leader::at(&config.coordinator)?),
    };
    let (room, left) = rooms(config.peer.as_ref(), config.scratch_budget)?;
    let scratch = Scratch::open(&config.scratch)?
        .with_budget(left)
        .waiting(config.habits.waits_for_disk);
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let heavy = config.workers.unwrap_or(cores).max(1);
    let memory_bytes = memory_of(config.ffmpeg.allowance, || memory::of_machine(None));
    let slots = Slots::new(heavy, config.ahead.unwrap_or(1), LIGHT_SLOTS)
        .within(memory_bytes.map(Rations::new));
    let served = match &config.peer {
        Some(_) if !config.labels.contains_key(SITE) => return Err(peer::Error::NoSite.into()),
        Some(peer) => {
            let (listener, own) = serve::listen(peer)?;
            let neighbours = Neighbours::new(own, &config.scratch, room)?;
            Some((neighbours, listener))
        }
        None => None,
    };
    let neighbours = served.as_ref().map(|(neighbours, _)| neighbours.clone());
    let own = neighbours
        .as_ref()
        .map(|neighbours| neighbours.own().to_owned());
    let hello = NodeHello {
        name,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        heavy_slots: heavy,
        light_slots: LIGHT_SLOTS,
        ffmpeg: config.ffmpeg.version_line().to_owned(),
        capabilities: std::iter::once(CAPABILITY)
            .chain(config.ffmpeg.encoders())
            .map(str::to_owned)
            .collect(),
        labels: config.labels,
        peer: own.unwrap_or_default(),
        memory_bytes,
    };
    let accounted = scratch.clone();
    let prover = config.measured.map(|memory| {
        Prover::new(
            Arc::clone(&config.ffmpeg),
            config.scratch.join("samples"),
            memory,
            heavy,
            slots.watch(),
        )
    });
    let meter = prover.is_some().then(|| Meter::new(config.scratch.clone()));
    let context = Arc::new(Context {
        proofs: prover.as_ref().map(Prover::proofs).unwrap_or_default(),
        sources: Sources::new(&config.scratch).shared_with(neighbours),
        ffmpeg: config.ffmpeg,
        scratch,
        inputs: Inputs::default(),
        cache: config
            .cache
            .map(|(dir, budget)| crate::cache::ChunkCache::new(dir, budget)),
    });
    let accountant = AbortOnDropHandle::new(tokio::spawn(account(accounted, Arc::clone(&context))));
    let workers = Workers::new(context, slots.clone()).with_meter(meter);
    let instance = format!("{:032x}", recode_types::JobId::generate().0);
    // Wishes are few, and each is taken at once.
    let (wishes, heard) = mpsc::channel(4);
    let lookout = look_out(config.habits.lookout.clone(), wishes.clone());
    let lookout = AbortOnDropHandle::new(tokio::spawn(lookout));
    let habits = (config.habits, heard);
    let reporter = Reporter::new(link, hello, instance, workers, &slots, habits);
    let stop = CancellationToken::new();
    let reporter = tokio::spawn(reporter.run(stop.clone()));
    let prover = prover.map(|prover| tokio::spawn(prover.run(stop.clone())));
    let server = served.map(|(neighbours, listener)| {
        tokio::spawn(serve::serve(neighbours, listener, stop.clone()))
    });
    Ok(Running {
        stop,
        reporter,
        wishes,
        _lookout: lookout,
        _accountant: accountant,
        prover,
        server,
    })
}

/// The least budget of scratch that a quarter of is of use to neighbours.
const LEAST_SHARED: u64 = 256_000_000;

/// Bytes of scratch for what is kept for neighbours, and the budget that is left beside them.
fn rooms(peer: Option<&peer::Config>, budget: Option<u64>) -> Result<(u64, Option<u64>), Error> {
    match (peer, budget) {
        (None, budget) => Ok((0, budget)),
        (Some(peer), None) => Ok((peer.keep_bytes, None)),
        (Some(_), Some(budget)) if budget < LEAST_SHARED => Err(peer::Error::Cramped.into()),
        (Some(peer), Some(budget)) => {
            let room = peer.keep_bytes.min(budget / 4);
            Ok((room, Some(budget - room)))
        }
    }
}

/// Machine and process; a process that runs several nodes numbers them by their scratch, since a node replaces a former
/// one of its name and these are not each other's.
fn name_of(scratch: &Path) -> String {
    static SCRATCHES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut known = SCRATCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let number = known.iter().position(|one| one == scratch);
    let number = number.unwrap_or_else(|| {
        known.push(scratch.to_owned());
        known.len() - 1
    });
    let process = format!("{}:{}", host_name(), std::process::id());
    match number {
        0 => process,
        _ => format!("{process}.{}", number + 1),
    }
}

/// What all runs together may have of the memory: as their FFmpeg is allowed, or of the whole machine. `None`: nobody knows.
fn memory_of(allowance: Allowance, machine: impl FnOnce() -> Option<u64>) -> Option<u64> {
    let all = allowance.of_all();
    all.or_else(|| Allowance::new(None, machine()).of_all())
}

/// Keeps account of what Attempts share, and lets go of what none of them uses any more.
async fn account(scratch: Scratch, context: Arc<Context>) {
    let mut tick = tokio::time::interval(COUNT_SHARED);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        context.sources.tidy(Instant::now());
        scratch.count_shared();
    }
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_may_have_what_their_ffmpeg_is_allowed_or_else_most_of_the_machine() {
        let within = Allowance::new(Some(1), Some(800));
        assert_eq!(memory_of(within, || Some(8_000)), Some(700));
        assert_eq!(memory_of(Allowance::default(), || Some(8_000)), Some(7_000));
        assert_eq!(memory_of(Allowance::default(), || None), None);
    }
}
