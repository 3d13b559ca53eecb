//! What the exchange of a node with a coordinator promises, whatever it travels over: one named behaviour after the other,
//! played by a scripted node against a real coordinator.
//!
//! A behaviour waits for what must happen and never for a time to pass; where something must not happen, something else that
//! comes after it is waited for. [`NAMES`] lists them; [`hold`] plays one.

mod node;

use anyhow::{Context as _, Result, ensure};
use node::{Script, done, failed, large, token};
use recode_mesh::{Jobs, Leader, Link, Nodes, Watched};
use recode_types::{AttemptProgress, AttemptToken, EventKind, JobId, JobRequest, JobState};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long anything may take. A lease outlives its holder by 15 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// A coordinator, how nodes reach it, and how clients do. Each behaviour gets one that has no jobs and no nodes.
pub trait Ground: Send {
    /// A new way of a node.
    fn link(&self) -> Link;
    /// The way of clients, by gRPC.
    fn leader(&self) -> Leader;
    /// Ends the coordinator and starts it again, where it was, on what it left.
    fn restart(&mut self) -> impl Future<Output = Result<()>> + Send;
}

macro_rules! behaviours {
    ($($name:ident)*) => {
        /// The behaviours, by name.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        /// Plays one behaviour.
        /// # Errors
        /// It does not hold, and what was seen instead; or there is none of this name.
        pub async fn hold<G: Ground>(name: &str, ground: &mut G) -> Result<()> {
            match name {
                $(stringify!($name) => $name(ground).await,)*
                other => anyhow::bail!("there is no behaviour {other}"),
            }
            .with_context(|| format!("`{name}` does not hold"))
        }
    };
}

behaviours! {
    a_free_slot_is_granted_work
    a_full_node_is_granted_nothing
    progress_is_shown_to_watchers
    a_finish_is_acknowledged_and_counts
    a_finish_that_is_said_again_counts_once
    a_failed_attempt_is_granted_again_under_a_new_number
    an_attempt_without_lease_is_revoked_and_its_result_refused
    a_cancelled_job_is_revoked
    a_drained_node_is_granted_nothing_until_it_is_undrained
    orders_that_were_lost_are_granted_again
    a_newer_exchange_ends_the_older_one
    a_restart_of_the_leader_loses_and_repeats_nothing
    what_a_silent_node_held_goes_elsewhere
    nodes_of_one_site_are_told_of_each_other
    a_report_of_megabytes_arrives_whole
    grants_beyond_a_payload_arrive_whole
}

struct Clients {
    jobs: Jobs,
    nodes: Nodes,
}

fn clients(ground: &impl Ground) -> Clients {
    Clients {
        jobs: Jobs::new(ground.leader()),
        nodes: Nodes::new(ground.leader()),
    }
}

impl Clients {
    /// A job whose probe is ready at once.
    async fn submit(&self, name: &str) -> Result<JobId> {
        self.submit_source(name, "file:///made-up/in.mp4").await
    }

    async fn submit_source(&self, name: &str, source: &str) -> Result<JobId> {
        let request: JobRequest = serde_json::from_value(serde_json::json!({
            "source": source,
            "outputs": [{
                "url": format!("file:///made-up/{name}.mp4"), "container": "mp4", "tracks": "all",
                "rendition": {
                    "codec": "h264", "encoder": "libx264", "profile": "quality", "scale": "source", "deinterlace": "off"
                }
            }],
            "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
        }))?;
        Ok(self.jobs.submit(name, &request).await?.0)
    }

    /// The events of a job so far.
    async fn events(&self, job: JobId) -> Result<Vec<EventKind>> {
        let known = self.jobs.get(job).await?.status.events;
        let mut watch = self.jobs.watch(job, 0);
        let mut events = Vec::new();
        while (events.len() as u64) < known {
            match watch.next().await?.context("the watch ended early")? {
                Watched::Event(event) => events.push(event.kind),
                Watched::Progress(_) => {}
            }
        }
        Ok(events)
    }

    /// How often a Task of the job was done, by its events.
    async fn done(&self, job: JobId) -> Result<usize> {
        let events = self.events(job).await?;
        let done = |event: &&EventKind| matches!(event, EventKind::TaskDone { .. });
        Ok(events.iter().filter(done).count())
    }
}

async fn a_free_slot_is_granted_work<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut node = Script::open(ground.link(), "one", 1).await?;
    let job = clients.submit("one").await?;
    let grant = node.granted().await?;
    ensure!((grant.task.job, grant.attempt) == (job, 1), "{grant:?}");
    ensure!(node.number.is_some(), "the node was not told its number");
    Ok(())
}

async fn a_full_node_is_granted_nothing<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut full = Script::open(ground.link(), "full", 0).await?;
    full.registered().await?;
    let mut free = Script::open(ground.link(), "free", 2).await?;
    free.registered().await?;
    for name in ["one", "two"] {
        clients.submit(name).await?;
        free.granted().await?;
    }
    ensure!(full.grants.is_empty(), "{:?}", full.grants);
    full.report.free_light = 1;
    clients.submit("three").await?;
    full.granted().await?;
    Ok(())
}

async fn progress_is_shown_to_watchers<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut node = Script::open(ground.link(), "one", 1).await?;
    let job = clients.submit("one").await?;
    node.granted().await?;
    node.report.running[0].frames = 42;
    let mut watch = clients.jobs.watch(job, 0);
    let seen = async {
        while let Some(watched) = watch.next().await? {
            let shows = |one: &AttemptProgress| one.frames == 42;
            if matches!(&watched, Watched::Progress(now) if now.running.iter().any(shows)) {
                return Ok(());
            }
        }
        anyhow::bail!("the watch ended")
    };
    node.while_it_reports("its progress is shown", seen).await?
}

async fn nodes_of_one_site_are_told_of_each_other<G: Ground>(ground: &mut G) -> Result<()> {
    let mut one = Script::open_at(ground.link(), "here", "10.0.0.1:7430").await?;
    one.told_of(&["10.0.0.1:7430"]).await?;
    let mut other = Script::open_at(ground.link(), "here", "10.0.0.2:7430").await?;
    let mut elsewhere = Script::open_at(ground.link(), "there", "10.0.0.3:7430").await?;
    let both = ["10.0.0.1:7430", "10.0.0.2:7430"];
    one.told_of(&both).await?;
    other.told_of(&both).await?;
    elsewhere.told_of(&["10.0.0.3:7430"]).await?;
    // A new exchange may be with a new Leader, or the old orders were lost.
    other.reopen().await?;
    other.told_of(&both).await?;
    other.report.draining = true;
    let leaves = other.ended();
    let alone = one.told_of(&["10.0.0.1:7430"]);
    tokio::select! {
        alone = alone => alone,
        left = leaves => left.and_then(|()| anyhow::bail!("the exchange of one that leaves ended")),
    }
}

async fn a_finish_is_acknowledged_and_counts<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut node = Script::open(ground.link(), "one", 1).await?;
    let job = clients.submit("one").await?;
    let grant = node.granted().await?;
    node.finish(token(&grant), done());
    node.acknowledged(token(&grant)).await?;
    ended(&clients, job, 1).await
}

async fn a_finish_that_is_said_again_counts_once<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut node = Script::open(ground.link(), "one", 1).await?;
    let job = clients.submit("one").await?;
    let grant = node.granted().await?;
    for _ in 0..3 {
        node.finish(token(&grant), done());
        node.acknowledged(token(&grant)).await?;
    }
    // Over a new exchange too.
    node.finish(token(&grant), done());
    node.reopen().await?;
    node.acknowledged(token(&grant)).await?;
    ended(&clients, job, 1).await
}

/// The Tasks of a Job have ended well so often, by its events.
async fn ended(clients: &Clients, job: JobId, times: usize) -> Result<()> {
    ensure!(
        clients.done(job).await? == times,
        "{:?}",
        clients.events(job).await?
    );
    Ok(())
}

async fn a_failed_attempt_is_granted_again_under_a_new_number<G: Ground>(
    ground: &mut G,
) -> Result<()> {
    let clients = clients(ground);
    let mut node = Script::open(ground.link(), "one", 1).await?;
    let job = clients.submit("one").await?;
    let first = node.granted().await?;
    node.finish(token(&first), failed("signal 9"));
    node.acknowledged(token(&first)).await?;
    node.report.free_light = 1;
    let second = node.granted().await?;
    ensure!(
        second.task == first.task && second.attempt == 2,
        "{second:?}"
    );
    // The first one is over, whatever comes of it now.
    node.finish(token(&first), done());
    node.acknowledged(token(&first)).await?;
    ended(&clients, job, 0).await
}

async fn an_attempt_without_lease_is_revoked_and_its_result_refused<G: Ground>(
    ground: &mut G,
) -> Result<()> {
    let clients = clients(ground);
    let mut node = Script::open(ground.link(), "one", 1).await?;
    let job = clients.submit("one").await?;
    let grant = node.granted().await?;
    let (invented, claimed) = (
        AttemptToken {
            attempt: 8,
            ..token(&grant)
        },
        AttemptToken {
            attempt: 9,
            ..token(&grant)
        },
    );
    node.run(invented);
    node.finish(claimed, done());
    node.acknowledged(claimed).await?;
    node.revoked(invented).await?;
    ended(&clients, job, 0).await?;
    ensure!(
        !node.revocations.contains(&token(&grant)),
        "its own was revoked"
    );
    Ok(())
}

async fn a_cancelled_job_is_revoked<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut node = Script::open(ground.link(), "one", 1).await?;
    let job = clients.submit("one").await?;
    let grant = node.granted().await?;
    clients.jobs.cancel(job, "enough").await?;
    node.revoked(token(&grant)).await?;
    let state = clients.jobs.get(job).await?.status.state;
    ensure!(state == JobState::Cancelled, "{state:?}");
    Ok(())
}

async fn a_drained_node_is_granted_nothing_until_it_is_undrained<G: Ground>(
    ground: &mut G,
) -> Result<()> {
    let clients = clients(ground);
    let mut drained = Script::open(ground.link(), "drained", 8).await?;
    let number = drained.registered().await?;
    clients.nodes.drain(number).await?;
    let mut other = Script::open(ground.link(), "other", 2).await?;
    other.registered().await?;
    for name in ["one", "two"] {
        clients.submit(name).await?;
        other.granted().await?;
    }
    ensure!(drained.grants.is_empty(), "{:?}", drained.grants);
    clients.nodes.undrain(number).await?;
    clients.submit("three").await?;
    drained.granted().await?;
    Ok(())
}

async fn orders_that_were_lost_are_granted_again<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut node = Script::open(ground.link(), "one", 1).await?;
    clients.submit("one").await?;
    let first = node.granted().await?;
    // As if they had never come.
    node.report.running.clear();
    node.reopen().await?;
    let again = node.granted().await?;
    ensure!(token(&again) == token(&first), "{again:?}");
    Ok(())
}

async fn a_newer_exchange_ends_the_older_one<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut older = Script::open(ground.link(), "one", 1).await?;
    let number = older.registered().await?;
    let mut newer = Script::open(ground.link(), "one", 1).await?;
    ensure!(
        newer.registered().await? == number,
        "one process is one node"
    );
    older.ended().await?;
    clients.submit("one").await?;
    newer.granted().await?;
    Ok(())
}

async fn a_restart_of_the_leader_loses_and_repeats_nothing<G: Ground>(
    ground: &mut G,
) -> Result<()> {
    let mut node = Script::open(ground.link(), "one", 2).await?;
    let before = clients(ground);
    let (one, two) = (before.submit("one").await?, before.submit("two").await?);
    let (first, second) = (node.granted().await?, node.granted().await?);
    ensure!(
        BTreeSet::from([first.task.job, second.task.job]) == BTreeSet::from([one, two]),
        "{first:?}, {second:?}"
    );
    ground.restart().await?;
    // It has finished meanwhile, while nobody listened.
    node.finish(token(&first), done());
    node.reopen().await?;
    node.acknowledged(token(&first)).await?;
    let after = clients(ground);
    ensure!(
        after.done(first.task.job).await? == 1,
        "the result was lost"
    );
    ensure!(node.revocations.is_empty(), "{:?}", node.revocations);
    // Nothing of it was granted anew: what comes next is the next job's.
    node.report.free_light = 1;
    let three = after.submit("three").await?;
    let next = node.granted().await?;
    ensure!(next.task.job == three, "{next:?}");
    node.finish(token(&second), done());
    node.acknowledged(token(&second)).await?;
    ensure!(
        after.done(second.task.job).await? == 1,
        "the second result was lost"
    );
    Ok(())
}

async fn what_a_silent_node_held_goes_elsewhere<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    let mut silent = Script::open(ground.link(), "silent", 1).await?;
    let job = clients.submit("one").await?;
    let lost = silent.granted().await?;
    let mut other = Script::open(ground.link(), "other", 1).await?;
    other.registered().await?;
    drop(silent);
    let granted = other.granted().await?;
    ensure!(
        granted.task == lost.task && granted.attempt == 2,
        "{granted:?}"
    );
    other.finish(token(&granted), done());
    other.acknowledged(token(&granted)).await?;
    ended(&clients, job, 1).await
}

async fn a_report_of_megabytes_arrives_whole<G: Ground>(ground: &mut G) -> Result<()> {
    let mut node = Script::open(ground.link(), "one", 0).await?;
    node.registered().await?;
    let finished = large();
    let all: BTreeSet<AttemptToken> = finished.iter().map(|one| one.token).collect();
    node.report.finished = finished;
    node.hear("all of them are acknowledged", |node| {
        all.iter()
            .all(|token| node.acknowledgements.contains(token))
    })
    .await
}

async fn grants_beyond_a_payload_arrive_whole<G: Ground>(ground: &mut G) -> Result<()> {
    let clients = clients(ground);
    // Each grant names its source, in 4,000 bytes; they all come at once, 1.2 MB of them.
    let mut jobs = BTreeSet::new();
    for number in 0..300 {
        let source = format!("file:///{}/{number}.mp4", "x".repeat(3900));
        jobs.insert(clients.submit_source(&format!("{number}"), &source).await?);
    }
    let mut node = Script::open(ground.link(), "one", 300).await?;
    node.hear("all of them are granted", |node| node.grants.len() >= 300)
        .await?;
    let granted: BTreeSet<JobId> = node.grants.iter().map(|grant| grant.task.job).collect();
    ensure!(granted == jobs, "{} of {}", granted.len(), jobs.len());
    Ok(())
}
