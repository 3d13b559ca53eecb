//! A child that gets ahead of others stands still.

use super::process::Group;
use rustix::process::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Lets a child stand still. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Brake {
    group: Arc<Group>,
    stands: Arc<AtomicBool>,
    /// Looks at which it stood still.
    looks: Arc<AtomicU64>,
}

impl Brake {
    pub(super) fn on(group: Arc<Group>) -> Self {
        Self {
            group,
            stands: Arc::default(),
            looks: Arc::default(),
        }
    }

    /// Stops the child, or lets it go on. It is not blamed for standing still, as long as this is called again more often than
    /// its patience lasts.
    pub fn set(&self, stand: bool) {
        if stand {
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        if self.stands.swap(stand, Ordering::Relaxed) != stand {
            self.group
                .signal(if stand { Signal::STOP } else { Signal::CONT });
        }
    }

    /// See the field.
    pub(super) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}
