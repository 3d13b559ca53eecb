//! Holds FFmpeg back when its file gets too far ahead of what has been sent: on a thread of its own, since between two looks of a busy
//! runtime a copy writes tens of megabytes.

use recode_media::run::Brake;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Looks until it is dropped; what stood still goes on then.
pub(super) struct Watch {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    file: Arc<File>,
    brake: Brake,
    /// More bytes than these, and FFmpeg has to wait.
    most: u64,
    /// Bytes of the file that do not count: they are gone, or waiting would not make them fewer.
    released: AtomicU64,
    is_over: AtomicBool,
}

impl State {
    fn look(&self) {
        if let Ok(meta) = self.file.metadata() {
            let held = meta
                .len()
                .saturating_sub(self.released.load(Ordering::Relaxed));
            self.brake.set(held > self.most);
        }
    }
}

impl Watch {
    /// Begins. Nothing of the file is released yet but its first `front` bytes.
    /// # Errors
    /// There are too many threads.
    pub(super) fn begin(
        file: &Arc<File>,
        brake: &Brake,
        front: u64,
        most: u64,
    ) -> io::Result<Self> {
        let state = Arc::new(State {
            file: Arc::clone(file),
            brake: brake.clone(),
            most,
            released: AtomicU64::new(front),
            is_over: AtomicBool::new(false),
        });
        let watched = Arc::clone(&state);
        let look = move || {
            while !watched.is_over.load(Ordering::Relaxed) {
                watched.look();
                std::thread::sleep(LOOK);
            }
        };
        let thread = std::thread::Builder::new().name("brake".to_owned());
        Ok(Self {
            state,
            thread: Some(thread.spawn(look)?),
        })
    }

    /// So many bytes that can be sent are there when the file has `size`; all others of these do not count.
    pub(super) fn holds(&self, held: u64, size: u64) {
        let released = size.saturating_sub(held);
        self.state.released.store(released, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.state.brake.set(false);
    }
}
