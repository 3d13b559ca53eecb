//! Clients: each job is submitted by a `recode-client` of its own, some of which are killed meanwhile, and what each was
//! told is written down. A client that was killed, or heard nothing, was told nothing: its job may or may not exist.

use super::breaker::Breaker;
use super::jobs::Request;
use crate::seed::Seed;
use crate::site::Site;
use anyhow::{Context as _, Result};
use recode_types::JobId;
use std::io::Read as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Between an answer that is no and the next try.
const PAUSE: Duration = Duration::from_millis(300);
/// A client that says nothing for so long is killed and counts as told nothing.
const LONGEST: Duration = Duration::from_secs(40);

/// What the client of one job was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it asked.
    pub request: Request,
    /// The job it was given; `None`: it was told nothing.
    pub job: Option<JobId>,
    /// It asked for the end of it later.
    pub cancelled: bool,
}

enum State {
    /// For its time, or for the next try.
    Waits(Instant),
    Submits {
        child: Child,
        since: Instant,
        /// When it is to be killed.
        kill: Option<Instant>,
    },
    Cancels(Child),
    Settled,
}

struct Client {
    told: Told,
    state: State,
    /// After it was told its job, it waits for so long and cancels it.
    cancel: Option<Duration>,
    /// Submits again, under the same id, when it was killed.
    persists: bool,
}

/// All clients of a run.
pub struct Clients {
    all: Vec<Client>,
    seed: Seed,
}

impl Clients {
    /// One for each request, evenly over `length` from now.
    pub fn new(requests: Vec<Request>, length: Duration, mut seed: Seed) -> Self {
        let step = length / requests.len().max(1) as u32;
        let now = Instant::now();
        let all = (0u32..)
            .zip(requests)
            .map(|(number, request)| Client {
                told: Told {
                    request,
                    job: None,
                    cancelled: false,
                },
                state: State::Waits(now + step * number),
                // One in twelve, some of them soon enough to meet the planning.
                cancel: seed
                    .number()
                    .is_multiple_of(12)
                    .then(|| Duration::from_millis(seed.number() % 3000)),
                persists: seed.number().is_multiple_of(2),
            })
            .collect();
        Self { all, seed }
    }

    /// Whether all know what they will ever know.
    pub fn are_settled(&self) -> bool {
        let mut all = self.all.iter();
        all.all(|client| matches!(client.state, State::Settled))
    }

    /// What each was told.
    pub fn told(self) -> Vec<Told> {
        self.all.into_iter().map(|client| client.told).collect()
    }

    /// Does what is due.
    /// # Errors
    /// A client cannot be started.
    pub fn step(&mut self, site: &Site, breaker: &mut Breaker) -> Result<()> {
        let now = Instant::now();
        for client in &mut self.all {
            let state = std::mem::replace(&mut client.state, State::Settled);
            client.state = match state {
                State::Waits(at) if at > now => State::Waits(at),
                State::Waits(_) => match client.told.job {
                    None => {
                        // Any moment of its short life.
                        let kill = breaker
                            .take_client()
                            .then(|| now + Duration::from_millis(self.seed.number() % 40));
                        client.submit(site, kill)?
                    }
                    Some(job) => {
                        client.told.cancelled = true;
                        State::Cancels(spawn(site, &["cancel", &job.to_string()])?)
                    }
                },
                State::Submits { child, since, kill } => {
                    client.submitting(child, since, kill, breaker)?
                }
                State::Cancels(mut child) => match child.try_wait()? {
                    None => State::Cancels(child),
                    // Whether or not it was heard: a job that somebody wanted to end may end either way.
                    Some(_) => State::Settled,
                },
                State::Settled => State::Settled,
            };
        }
        Ok(())
    }
}

fn spawn(site: &Site, arguments: &[&str]) -> Result<Child> {
    let mut command = site.client(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().context("cannot start recode-client")
}

impl Client {
    fn submit(&self, site: &Site, kill: Option<Instant>) -> Result<State> {
        let mut arguments = vec!["submit", "--request-id", &self.told.request.id];
        arguments.extend(self.told.request.arguments.iter().map(String::as_str));
        Ok(State::Submits {
            child: spawn(site, &arguments)?,
            since: Instant::now(),
            kill,
        })
    }

    fn submitting(
        &mut self,
        mut child: Child,
        since: Instant,
        kill: Option<Instant>,
        breaker: &mut Breaker,
    ) -> Result<State> {
        let now = Instant::now();
        match child.try_wait()? {
            Some(status) => {
                if kill.is_some() {
                    breaker.client(false);
                }
                let mut said = String::new();
                if let Some(mut stdout) = child.stdout.take() {
                    stdout.read_to_string(&mut said)?;
                }
                if !status.success() {
                    return Ok(State::Waits(now + PAUSE));
                }
                let job = said.trim().parse();
                self.told.job = Some(job.with_context(|| format!("submit says {said:?}"))?);
                Ok(match self.cancel {
                    Some(after) => State::Waits(now + after),
                    None => State::Settled,
                })
            }
            None if kill.is_some_and(|at| at <= now) => {
                child.kill()?;
                child.wait()?;
                breaker.client(true);
                Ok(match self.persists {
                    true => State::Waits(now + PAUSE),
                    false => State::Settled,
                })
            }
            None if since.elapsed() > LONGEST => {
                child.kill()?;
                child.wait()?;
                Ok(State::Waits(now + PAUSE))
            }
            None => Ok(State::Submits { child, since, kill }),
        }
    }
}
