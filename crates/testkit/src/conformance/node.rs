//! A node that does what it is told, by a script.

use super::PATIENCE;
use anyhow::{Context as _, Result, bail};
use recode_mesh::retry::retry;
use recode_mesh::{Exchange, Link};
use recode_types::artifact::{ArtifactRef, Digest};
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Grant, TaskResult, Usage};
use recode_types::{
    AttemptProgress, AttemptToken, FinishedAttempt, JobId, NodeHello, NodeId, NodeOrders,
    NodeReport, TaskId, TaskKey,
};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How often it says how it stands.
const REPORT: Duration = Duration::from_millis(500);

/// See the module. What it is granted it runs, for ever, until the script has it finish.
pub(super) struct Script {
    link: Link,
    exchange: Exchange,
    hello: NodeHello,
    /// What it says; free slots are what the script says they are.
    pub(super) report: NodeReport,
    pub(super) number: Option<NodeId>,
    /// All grants it was given, and those that the script has not looked at.
    pub(super) grants: Vec<Grant>,
    unseen: VecDeque<Grant>,
    pub(super) revocations: Vec<AttemptToken>,
    pub(super) acknowledgements: Vec<AttemptToken>,
    /// Whom it was told of last.
    peers: Option<Vec<String>>,
}

impl Script {
    /// Opens an exchange; a node of the same name is the same process. `light`: Attempts it takes at once.
    pub(super) async fn open(link: Link, name: &str, light: u32) -> Result<Self> {
        let hello = NodeHello {
            name: name.to_owned(),
            heavy_slots: 0,
            light_slots: light,
            ..NodeHello::default()
        };
        Self::open_as(link, hello).await
    }

    /// As above; the other nodes of its site reach it at `peer`.
    pub(super) async fn open_at(link: Link, site: &str, peer: &str) -> Result<Self> {
        let hello = NodeHello {
            name: format!("the node at {peer}"),
            labels: [("site".to_owned(), site.to_owned())].into(),
            peer: peer.to_owned(),
            ..NodeHello::default()
        };
        Self::open_as(link, hello).await
    }

    async fn open_as(link: Link, hello: NodeHello) -> Result<Self> {
        let light = hello.light_slots;
        let name = &hello.name;
        let mut report = NodeReport {
            instance: format!("instance of {name}"),
            sequence: 1,
            free_light: light,
            ..NodeReport::default()
        };
        let exchange = dial(&link, &hello, &mut report).await?;
        Ok(Self {
            link,
            exchange,
            hello,
            report,
            number: None,
            grants: Vec::new(),
            unseen: VecDeque::new(),
            revocations: Vec::new(),
            acknowledgements: Vec::new(),
            peers: None,
        })
    }

    /// Opens another exchange in place of the present one, and says what it holds.
    pub(super) async fn reopen(&mut self) -> Result<()> {
        self.peers = None;
        self.exchange = dial(&self.link, &self.hello, &mut self.report).await?;
        Ok(())
    }

    /// It holds this Attempt from now on.
    pub(super) fn run(&mut self, token: AttemptToken) {
        self.report.running.push(AttemptProgress {
            task: token.task,
            attempt: token.attempt,
            frames: 0,
            frames_total: 0,
            media_us: 0,
        });
    }

    /// An Attempt has ended.
    pub(super) fn finish(&mut self, token: AttemptToken, outcome: AttemptOutcome) {
        self.let_go(&token);
        self.acknowledgements.retain(|known| *known != token);
        self.report
            .finished
            .push(FinishedAttempt { token, outcome });
    }

    fn let_go(&mut self, token: &AttemptToken) {
        let other = |one: &AttemptProgress| (one.task, one.attempt) != (token.task, token.attempt);
        self.report.running.retain(other);
    }

    /// Waits for its number.
    pub(super) async fn registered(&mut self) -> Result<NodeId> {
        self.hear("its number", |node| node.number.is_some())
            .await?;
        self.number.context("it was just there")
    }

    /// Waits for the next grant.
    pub(super) async fn granted(&mut self) -> Result<Grant> {
        self.hear("a grant", |node| !node.unseen.is_empty()).await?;
        self.unseen.pop_front().context("it was just there")
    }

    /// Waits until it is told that just these nodes of its site serve each other.
    pub(super) async fn told_of(&mut self, peers: &[&str]) -> Result<()> {
        let what = format!("it is told of {peers:?}");
        let told = |node: &Self| node.peers.as_ref().is_some_and(|told| told == peers);
        self.hear(&what, told).await
    }

    /// Waits until an Attempt is acknowledged.
    pub(super) async fn acknowledged(&mut self, token: AttemptToken) -> Result<()> {
        let what = format!("{token} is acknowledged");
        self.hear(&what, |node| node.acknowledgements.contains(&token))
            .await
    }

    /// Waits until an Attempt is revoked.
    pub(super) async fn revoked(&mut self, token: AttemptToken) -> Result<()> {
        let what = format!("{token} is revoked");
        self.hear(&what, |node| node.revocations.contains(&token))
            .await
    }

    /// Waits until the other side ends the exchange, reporting all the time.
    pub(super) async fn ended(&mut self) -> Result<()> {
        let ended = self.hear("the end of the exchange", |_| false).await;
        match ended {
            Err(error) if error.downcast_ref::<recode_mesh::Error>().is_some() => Ok(()),
            Err(error) => Err(error),
            Ok(()) => bail!("it never is"),
        }
    }

    /// Takes orders, and reports, until `until`.
    pub(super) async fn hear(&mut self, what: &str, until: impl Fn(&Self) -> bool) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut tick = tokio::time::interval(REPORT);
        while !until(self) {
            tokio::select! {
                orders = self.exchange.hear() => {
                    let orders = orders.with_context(|| format!("waiting until {what}"))?;
                    self.take(orders);
                }
                _ = tick.tick() => self.say()?,
                () = tokio::time::sleep_until(end) => bail!(
                    "{} did not see it after {} s: {what}",
                    self.hello.name,
                    PATIENCE.as_secs()
                ),
            }
        }
        Ok(())
    }

    /// Reports until `other` is done.
    pub(super) async fn while_it_reports<T>(
        &mut self,
        what: &str,
        other: impl Future<Output = T>,
    ) -> Result<T> {
        tokio::select! {
            done = other => Ok(done),
            error = self.hear(what, |_| false) => Err(error.expect_err("it waits for nothing")),
        }
    }

    fn say(&mut self) -> Result<()> {
        self.report.sequence += 1;
        // Where there is no room an earlier report is under way, and the next tick says more.
        self.exchange.say(self.report.clone())?;
        Ok(())
    }

    fn take(&mut self, orders: NodeOrders) {
        self.number = self.number.or(orders.node);
        self.peers = orders.peers.or(self.peers.take());
        for token in orders.revocations {
            self.let_go(&token);
            self.revocations.push(token);
        }
        for token in orders.acknowledged {
            self.report.finished.retain(|one| one.token != token);
            self.acknowledgements.push(token);
        }
        for grant in orders.grants {
            // Repeated until a report lists it.
            let known =
                |one: &AttemptProgress| (one.task, one.attempt) == (grant.task, grant.attempt);
            if self.report.running.iter().any(known) {
                continue;
            }
            self.run(token(&grant));
            self.report.free_light = self.report.free_light.saturating_sub(1);
            self.grants.push(grant.clone());
            self.unseen.push_back(grant);
        }
    }
}

async fn dial(link: &Link, hello: &NodeHello, report: &mut NodeReport) -> Result<Exchange> {
    report.sequence = 1;
    let first = NodeReport {
        hello: Some(hello.clone()),
        ..report.clone()
    };
    let opened = retry(PATIENCE, || link.open(first.clone())).await;
    opened.with_context(|| format!("{} opens no exchange", hello.name))
}

/// Which Attempt a grant is of.
pub(super) fn token(grant: &Grant) -> AttemptToken {
    AttemptToken {
        task: grant.task,
        attempt: grant.attempt,
    }
}

/// A probe that found something.
pub(super) fn done() -> AttemptOutcome {
    let facts = ArtifactRef {
        key: "made-up".to_owned(),
        size_bytes: 1,
        digest: Digest([7; 32]),
    };
    AttemptOutcome::Done {
        result: TaskResult::Probed { facts },
        usage: Usage::default(),
    }
}

/// An Attempt that came to nothing, and may be made again.
pub(super) fn failed(message: &str) -> AttemptOutcome {
    AttemptOutcome::Failed {
        failure: Failure {
            class: FailureClass::Killed,
            message: message.to_owned(),
            stderr_tail: None,
        },
        usage: Usage::default(),
    }
}

/// Four megabytes about Attempts that nobody asked for: each is acknowledged by its name.
pub(super) fn large() -> Vec<FinishedAttempt> {
    let words = "x".repeat(4000);
    (0..1000)
        .map(|segment| FinishedAttempt {
            token: AttemptToken {
                task: TaskId {
                    job: JobId(7),
                    key: TaskKey::Encode { group: 0, segment },
                },
                attempt: 1,
            },
            outcome: failed(&words),
        })
        .collect()
}
