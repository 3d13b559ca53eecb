//! What this node can really do: every encoder is tried on a sample before it is offered, and withdrawn when it fails at work.
//!
//! ```text
//!             passes                       goes away, or fails three times in a row
//! untried ------------> offered ------------------------------------------------------> withdrawn
//!    |                     ^                                                                |
//!    | fails               |  passes its sample, after 1, 2, 4 ... 60 minutes               |
//!    +---------------------|--------------------------------------------------------------> |
//!                          +----------------------------------------------------------------+
//! ```
//! The node works from its first moment with what it remembers. First every encoder is tried, cards before the processor;
//! speeds are measured when nothing else runs, those that jobs use most first. All of it is remembered beside the scratch,
//! for as long as the FFmpeg build and the cards stay what they are.

pub mod machine;
mod memory;
mod quarantine;
mod sample;
mod trial;

pub use machine::Meter;

use crate::slots::Free;
use quarantine::Record;
use recode_media::args::encoder::{preset_rank, presets};
use recode_media::run::{Trouble, trouble};
use recode_media::toolchain::Ffmpeg;
use recode_types::engine::ENGINE_ENCODERS;
use recode_types::task::Failure;
use recode_types::{Engine, Offer, Rate};
use sample::Sample;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use trial::{Bench, rendition};

/// Encoders of the processor, those that jobs use most first, with the presets whose speed is measured.
const SOFTWARE: [(&str, &[&str]); 7] = [
    ("libx264", &["medium", "veryfast", "slow"]),
    ("libx265", &["medium", "veryfast"]),
    ("libsvtav1", &["8", "10", "6"]),
    ("libvpx-vp9", &["5", "3"]),
    ("mpeg2video", &[]),
    ("prores_ks", &[]),
    ("libaom-av1", &["8", "6"]),
];
/// Sizes at which speeds are measured.
const SIZES: [(u32, u32); 2] = [(1280, 720), (640, 360)];
/// Frames of such a measurement.
const FRAMES: u32 = 30;
/// CPU that measuring speeds may take.
const BUDGET: Duration = Duration::from_secs(120);
/// Most sessions of a card that are tried.
const MOST_SESSIONS: u32 = 16;

/// How long an Attempt waits for the sample of its encoder, at the start of a node.
const TRIED_WITHIN: Duration = Duration::from_secs(60);

/// What is offered, for everyone who asks. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Proofs(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    offer: watch::Sender<Offer>,
    sessions: Mutex<BTreeMap<Engine, Sessions>>,
    records: Mutex<BTreeMap<String, Record>>,
    changed: Notify,
    /// Nothing is measured any more.
    enough: CancellationToken,
}

/// Those of one engine.
#[derive(Debug)]
struct Sessions {
    free: Arc<Semaphore>,
    all: u32,
}

/// One of them; free again when dropped.
#[derive(Debug)]
pub struct Session {
    engine: Engine,
    permit: OwnedSemaphorePermit,
}

/// What measuring needs.
#[derive(Debug)]
pub struct Prover {
    proofs: Proofs,
    ffmpeg: Arc<Ffmpeg>,
    /// Made and removed by us.
    folder: PathBuf,
    /// What is remembered lies here.
    memory: PathBuf,
    /// Encoders at once.
    heavy: u32,
    free: watch::Receiver<Free>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proofs {
    /// Follows the offer; `None`: this node does not measure.
    pub fn watch(&self) -> Option<watch::Receiver<Offer>> {
        Some(self.0.as_ref()?.offer.subscribe())
    }

    /// Why this node does not encode with an encoder that its FFmpeg has. Waits for a moment where that is not known yet.
    pub async fn refuses(&self, encoder: &str) -> Option<String> {
        let shared = self.0.as_ref()?;
        if Engine::of_encoder(encoder).is_some() {
            let mut offer = shared.offer.subscribe();
            let tried = offer.wait_for(|offer| offer.proof(encoder).is_some());
            tokio::select! {
                _ = tokio::time::timeout(TRIED_WITHIN, tried) => {}
                // It never will be.
                () = shared.enough.cancelled() => {}
            }
        }
        shared.offer.borrow().withholds(encoder).map(str::to_owned)
    }

    /// Most memory that a sample took of this encoder; `None`: that was not measured.
    pub fn peak_bytes(&self, encoder: &str) -> Option<u64> {
        let offer = self.0.as_ref()?.offer.borrow();
        let peak = offer.proof(encoder)?.peak_rss_bytes;
        (peak > 0).then_some(peak)
    }

    /// Waits for a session of a card; `None` where no limit is known.
    pub async fn session(&self, engine: Engine) -> Option<Session> {
        let free = Arc::clone(&lock(&self.0.as_ref()?.sessions).get(&engine)?.free);
        let permit = free.acquire_owned().await.ok()?;
        Some(Session { engine, permit })
    }

    /// The card refused this one: others use it, or the trial saw more than there are. One stays in any case.
    pub fn refused(&self, session: Session) {
        if let Some(shared) = &self.0
            && let Some(sessions) = lock(&shared.sessions).get_mut(&session.engine)
            && sessions.all > 1
        {
            sessions.all -= 1;
            session.permit.forget();
        }
    }

    /// Nothing is measured any more, as the node leaves: the work in hand has the machine to itself.
    pub fn enough(&self) {
        if let Some(shared) = &self.0 {
            shared.enough.cancel();
        }
    }

    /// An encode ended well.
    pub fn worked(&self, encoder: &str) {
        if let Some(shared) = &self.0
            && let Some(record) = lock(&shared.records).get_mut(encoder)
        {
            record.worked();
        }
    }

    /// An encode failed: the encoder may be withdrawn for it.
    pub fn failed(&self, encoder: &str, failure: &Failure) {
        let (Some(shared), Some(_)) = (&self.0, Engine::of_encoder(encoder)) else {
            return;
        };
        let trouble = trouble_of(failure);
        let now = Instant::now();
        let mut records = lock(&shared.records);
        let record = records.entry(encoder.to_owned()).or_default();
        if record.failed(failure.class, trouble, now) {
            tracing::warn!(
                encoder,
                reason = failure.message,
                "withdrawn from what this node offers"
            );
            shared.withdraw(encoder, format!("withdrawn: {}", failure.message));
            shared.changed.notify_one();
        }
    }
}

/// What FFmpeg said of the card, if anything.
fn trouble_of(failure: &Failure) -> Option<Trouble> {
    let said = failure.stderr_tail.as_deref().unwrap_or_default();
    trouble(said).map(|(trouble, _)| trouble)
}

/// Whether an encode failed since its card had no session to spare.
pub fn no_session(failure: &Failure) -> bool {
    trouble_of(failure) == Some(Trouble::NoSession)
}

impl Shared {
    fn withdraw(&self, encoder: &str, fault: String) {
        self.offer.send_modify(|offer| {
            let mut proof = offer.proof(encoder).cloned().unwrap_or_default();
            proof.encoder = encoder.to_owned();
            proof.fault = Some(fault);
            offer.put(proof);
        });
    }

    fn limit(&self, engine: Engine, sessions: Option<u32>) {
        let mut all = lock(&self.sessions);
        match sessions {
            // Without any the encoder would wait for ever; a proof has just used one.
            Some(n) => all.insert(
                engine,
                Sessions {
                    free: Arc::new(Semaphore::new(n.max(1) as usize)),
                    all: n.max(1),
                },
            ),
            None => all.remove(&engine),
        };
    }
}

impl Prover {
    /// Begins with what is remembered in `memory`. `folder` is emptied and used for samples.
    pub fn new(
        ffmpeg: Arc<Ffmpeg>,
        folder: PathBuf,
        memory: PathBuf,
        heavy: u32,
        free: watch::Receiver<Free>,
    ) -> Self {
        let machine = machine::look();
        let build = ffmpeg.identity().map(|d| d.to_string()).unwrap_or_default();
        let fresh = Offer {
            machine,
            build,
            ..Offer::default()
        };
        let known = memory::recall(&memory, &fresh).unwrap_or(fresh);
        let shared = Shared {
            offer: watch::Sender::new(known.clone()),
            sessions: Mutex::default(),
            records: Mutex::default(),
            changed: Notify::new(),
            enough: CancellationToken::new(),
        };
        for proof in &known.proofs {
            if let Some(engine) = Engine::of_encoder(&proof.encoder)
                && proof.fault.is_none()
            {
                shared.limit(engine, proof.sessions);
            }
        }
        Self {
            proofs: Proofs(Some(Arc::new(shared))),
            ffmpeg,
            folder,
            memory,
            heavy,
            free,
        }
    }

    /// What is offered, for everyone who asks.
    pub fn proofs(&self) -> Proofs {
        self.proofs.clone()
    }

    /// Measures, and tries again what was withdrawn, until told to stop, or that it is [`Proofs::enough`].
    pub async fn run(self, stop: CancellationToken) {
        let folder = self.folder.clone();
        let enough = self.shared().enough.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = enough.cancelled() => {}
            () = self.measure() => {}
        }
        let _ = std::fs::remove_dir_all(folder);
    }

    async fn measure(mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        if let Err(e) = std::fs::create_dir_all(&self.folder) {
            tracing::warn!(error = %e, "no room for samples: nothing is measured, and no card is used");
            return;
        }
        let software = SOFTWARE.iter().map(|(encoder, _)| *encoder);
        for encoder in ENGINE_ENCODERS.into_iter().chain(software) {
            // What failed is tried at every start: a card may have been busy, a driver reloaded.
            let passed = |offer: &Offer| offer.proof(encoder).is_some_and(|p| p.fault.is_none());
            if self.ffmpeg.has_encoder(encoder) && !passed(&self.shared().offer.borrow()) {
                self.prove(encoder).await;
            }
        }
        self.remember();
        self.time_all().await;
        self.shared()
            .offer
            .send_modify(|offer| offer.complete = true);
        self.remember();
        loop {
            let due = lock(&self.shared().records)
                .iter()
                .filter_map(|(encoder, record)| Some((record.again_at()?, encoder.clone())))
                .min();
            let changed = self.shared().changed.notified();
            match due {
                None => changed.await,
                Some((at, encoder)) => {
                    let at = tokio::time::Instant::from_std(at);
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {
                            self.prove(&encoder).await;
                            self.remember();
                        }
                    }
                }
            }
        }
    }

    fn shared(&self) -> &Shared {
        self.proofs.0.as_deref().expect("a prover has proofs")
    }

    fn remember(&self) {
        memory::remember(&self.memory, &self.shared().offer.borrow());
    }

    /// Tries one encoder and says what came of it.
    async fn prove(&self, encoder: &str) {
        let quick = match encoder {
            "libx264" | "libx265" => Some("veryfast"),
            "libsvtav1" => Some("10"),
            "libvpx-vp9" => Some("5"),
            "libaom-av1" => Some("8"),
            _ => None,
        };
        let Some(rendition) = rendition(encoder, quick) else {
            return;
        };
        let bench = Bench {
            ffmpeg: &self.ffmpeg,
            folder: &self.folder,
        };
        let mut proof = self.shared().offer.borrow().proof(encoder).cloned();
        let proof = proof.get_or_insert_default();
        proof.encoder = encoder.to_owned();
        proof.presets = presets(encoder).iter().map(|p| (*p).to_owned()).collect();
        proof.usual_rank = preset_rank(encoder, None);
        match bench.prove(&rendition).await {
            Ok((psnr, took)) => {
                proof.fault = None;
                proof.psnr = psnr;
                proof.peak_rss_bytes = took.usage.peak_rss_bytes;
                if let Some(engine) = Engine::of_encoder(encoder) {
                    proof.sessions = match self.sessions_of(engine, encoder) {
                        Some(known) => known,
                        None => {
                            let most = (self.heavy + 1).min(MOST_SESSIONS);
                            bench.sessions(&rendition, most).await
                        }
                    };
                    self.shared().limit(engine, proof.sessions);
                }
                if let Some(record) = lock(&self.shared().records).get_mut(encoder) {
                    record.passed();
                }
                tracing::info!(encoder, psnr, sessions = ?proof.sessions, "offered");
            }
            Err(fault) => {
                tracing::info!(encoder, fault, "not offered");
                if Engine::of_encoder(encoder).is_some() {
                    // A card may be busy, or its driver be loaded later.
                    let mut records = lock(&self.shared().records);
                    let record = records.entry(encoder.to_owned()).or_default();
                    record.withdraw(Instant::now());
                }
                proof.fault = Some(fault);
            }
        }
        let proof = proof.clone();
        self.shared().offer.send_modify(|offer| offer.put(proof));
    }

    /// What another encoder of the engine has shown: they share its sessions.
    fn sessions_of(&self, engine: Engine, encoder: &str) -> Option<Option<u32>> {
        let offer = self.shared().offer.borrow();
        let mut proofs = offer.proofs.iter();
        let other = proofs.find(|p| {
            p.encoder != encoder
                && p.fault.is_none()
                && Engine::of_encoder(&p.encoder) == Some(engine)
        });
        other.map(|proof| proof.sessions)
    }

    /// Measures the speeds that are not known, while nothing else runs.
    async fn time_all(&mut self) {
        let mut spent = Duration::ZERO;
        let cards = ENGINE_ENCODERS.iter().map(|encoder| (*encoder, &[][..]));
        for (encoder, presets) in SOFTWARE.into_iter().chain(cards) {
            let presets: Vec<Option<&str>> = match presets {
                [] => vec![None],
                some => some.iter().copied().map(Some).collect(),
            };
            for preset in presets {
                for size in SIZES {
                    if spent > BUDGET {
                        return;
                    }
                    spent += self.time(encoder, preset, size).await.unwrap_or_default();
                }
            }
        }
    }

    /// Measures one speed; the answer is the CPU it took. `None`: there is nothing to measure, or it failed.
    async fn time(
        &mut self,
        encoder: &str,
        preset: Option<&str>,
        size: (u32, u32),
    ) -> Option<Duration> {
        let mut proof = self.shared().offer.borrow().proof(encoder).cloned()?;
        let rank = preset_rank(encoder, preset)?;
        let known = |r: &Rate| r.rank == rank && r.size == size;
        if proof.fault.is_some() || proof.rates.iter().any(known) {
            return None;
        }
        let heavy = self.heavy;
        self.free.wait_for(|free| free.heavy > heavy).await.ok()?;
        let bench = Bench {
            ffmpeg: &self.ffmpeg,
            folder: &self.folder,
        };
        let sample = Sample {
            size,
            frames: FRAMES,
        };
        let took = bench.time(&rendition(encoder, preset)?, sample).await;
        let took = took
            .inspect_err(|e| tracing::info!(encoder, preset, error = e, "no speed was measured"))
            .ok()?;
        // One thread of the processor is known by its CPU, which other work does not lengthen; a card by the clock.
        let spent = match Engine::of_encoder(encoder) {
            None => took.usage.cpu,
            Some(_) => took.usage.wall,
        };
        proof.rates.push(Rate {
            preset: preset.unwrap_or_default().to_owned(),
            rank,
            size,
            frames_per_second: f64::from(took.frames) / spent.as_secs_f64().max(0.001),
        });
        proof.peak_rss_bytes = proof.peak_rss_bytes.max(took.usage.peak_rss_bytes);
        self.shared().offer.send_modify(|offer| offer.put(proof));
        Some(took.usage.cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_speed_that_is_to_be_measured_can_be() {
        for (encoder, presets) in SOFTWARE {
            let named = presets.iter().copied().map(Some);
            for preset in named.chain([None]) {
                let rank = preset_rank(encoder, preset);
                assert!(rank.is_some(), "{encoder} with the preset {preset:?}");
            }
        }
    }
}
