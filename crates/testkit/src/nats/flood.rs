//! Somebody who repeats whatever is said on a NATS server, damages it, and says things of his own.

use super::wire::Plain;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Messages that are kept to be said again, the latest ones.
const KEPT: usize = 512;

/// Copies and garbage for each message heard.
const EACH: usize = 8;

/// Begins at once and ends when dropped. A server that goes away is waited for.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    said: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// Floods the server at `address` on every subject below `prefix`, as seed `seed` will have it.
    pub fn start(address: SocketAddr, prefix: &str, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let said = Arc::new(AtomicU64::new(0));
        let all = format!("{prefix}.>");
        let thread = std::thread::spawn({
            let (stop, said) = (stop.clone(), said.clone());
            move || {
                let mut chance = fastrand::Rng::with_seed(seed);
                let mut kept = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    if flood(address, &all, &mut chance, &mut kept, &stop, &said).is_err() {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        });
        Self {
            stop,
            said,
            thread: Some(thread),
        }
    }

    /// Messages said so far.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Until told to stop, or the connection breaks.
fn flood(
    address: SocketAddr,
    all: &str,
    chance: &mut fastrand::Rng,
    kept: &mut Vec<(String, Vec<u8>)>,
    stop: &AtomicBool,
    said: &AtomicU64,
) -> anyhow::Result<()> {
    let (mut ear, mut mouth) = (Plain::connect(address)?, Plain::connect(address)?);
    ear.subscribe(all)?;
    while !stop.load(Ordering::Relaxed) {
        // What it says itself comes back too, and is said again: a flood.
        if let Some(heard) = ear.next(Duration::from_millis(5))? {
            let message = (heard.subject, heard.payload);
            match kept.len() < KEPT {
                true => kept.push(message),
                false => kept[chance.usize(..KEPT)] = message,
            }
        }
        for _ in 0..EACH {
            let Some((subject, payload)) = kept.get(chance.usize(..kept.len().max(1))) else {
                continue;
            };
            let payload = match chance.u8(..4) {
                0 => damaged(payload, chance),
                1 => garbage(chance),
                _ => payload.clone(),
            };
            mouth.publish(subject, &payload)?;
            said.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn damaged(payload: &[u8], chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut payload = payload.to_vec();
    match (payload.is_empty(), chance.bool()) {
        (true, _) => payload.push(chance.u8(..)),
        (false, true) => payload.truncate(chance.usize(..payload.len())),
        (false, false) => {
            let at = chance.usize(..payload.len());
            payload[at] ^= 1 << chance.u8(..8);
        }
    }
    payload
}

fn garbage(chance: &mut fastrand::Rng) -> Vec<u8> {
    let mut payload = vec![0; chance.usize(..2048)];
    chance.fill(&mut payload);
    payload
}
