//! What services see beside the state: what runs, what Nodes said, what was archived.

use super::dispatcher::{DispatcherHandle, Heard, Running};
use crate::artifacts::Store;
use recode_core::archive::Archive;
use recode_core::machine::Stub;
use tokio::sync::watch;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct View {
    /// `None`: this coordinator does not lead.
    dispatcher: watch::Receiver<Option<DispatcherHandle>>,
    running: watch::Receiver<Running>,
    store: Store,
}

impl View {
    /// From the dispatcher of whoever leads here, what it says that runs, and the work store.
    pub fn new(
        dispatcher: watch::Receiver<Option<DispatcherHandle>>,
        running: watch::Receiver<Running>,
        store: Store,
    ) -> Self {
        Self {
            dispatcher,
            running,
            store,
        }
    }

    /// What runs, as Nodes said last.
    pub fn running(&self) -> watch::Receiver<Running> {
        self.running.clone()
    }

    /// What Nodes said last. `None`: this coordinator does not lead, or stops.
    pub async fn heard(&self) -> Option<Heard> {
        let dispatcher = self.dispatcher.borrow().clone();
        dispatcher?.heard().await
    }

    /// What is kept of an archived Job.
    /// # Errors
    /// One sentence: the work store does not answer, or its bytes are others.
    pub async fn archive(&self, stub: &Stub) -> Result<Archive, String> {
        let bytes = self.store.get(&stub.archive).await;
        let bytes = bytes.map_err(|e| e.to_string())?;
        serde_json::from_slice(&bytes).map_err(|e| {
            format!(
                "{} does not read: {e}; use the build that wrote it",
                stub.archive.key
            )
        })
    }
}
