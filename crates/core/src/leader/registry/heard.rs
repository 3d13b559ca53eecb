//! What one Node has said of itself.

use recode_types::{AttemptToken, NodeHello, NodeLoad, NodeReport, Offer, PeerTraffic};
use std::collections::BTreeMap;
use std::time::Instant;

/// One Node that has an open exchange.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// Number of the exchange: what comes late from an older one is ignored.
    pub(super) exchange: u64,
    pub(super) hello: NodeHello,
    /// What its FFmpeg lists; `hello` names what of it is offered.
    pub(super) listed: Vec<String>,
    pub(super) offer: Option<Offer>,
    pub(super) load: Option<NodeLoad>,
    pub(super) traffic: Option<PeerTraffic>,
    pub(super) last: Instant,
    /// The exchange is open. What still comes from one that has ended says nothing of what the Node would take.
    pub(super) open: bool,
    pub(super) report: NodeReport,
    /// Granted, but in no report yet: what the Node said was free does not know of them. With whether each is heavy.
    pub(super) unseen: BTreeMap<AttemptToken, bool>,
}

impl Heard {
    pub(super) fn takes_work(&self) -> bool {
        self.open && !self.report.draining
    }

    /// It holds nothing, and nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.report.running.is_empty() && self.unseen.is_empty()
    }

    /// Its encoders make what those of another make: the same build of FFmpeg.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        fn build(heard: &Heard) -> Option<&str> {
            heard.offer.as_ref().map(|offer| offer.build.as_str())
        }
        self.hello.same_ffmpeg(&other.hello) && build(self) == build(other)
    }

    /// Heavy and light Attempts the Node would take now.
    pub(super) fn room(&self) -> (u32, u32) {
        let unseen = |heavy| self.unseen.values().filter(|h| **h == heavy).count() as u32;
        (
            self.report.free_heavy.saturating_sub(unseen(true)),
            self.report.free_light.saturating_sub(unseen(false)),
        )
    }

    /// What one of its slots costs in an hour, and a gigabyte on its link, where its labels say.
    pub(super) fn prices(&self) -> (Option<f64>, Option<f64>) {
        let slots = f64::from(self.hello.heavy_slots.max(1));
        let price = self.hello.price().map(|price| price / slots);
        (price, self.hello.egress())
    }

    /// See [`crate::leader::Member::worth`]. Infinite: its link costs nothing.
    pub(super) fn worth(&self) -> Option<f64> {
        let (price, egress) = self.prices();
        let egress = egress?;
        match egress > 0.0 {
            true => Some(price? / 3600.0 / (egress / 1e9)),
            false => Some(f64::INFINITY),
        }
    }
}
