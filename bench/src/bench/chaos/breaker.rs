//! Carries a plan of faults out, and undoes them.

use super::faults::{Fault, Planned, Target};
use crate::site::network::Member;
use crate::site::{COORDINATORS, Site};
use anyhow::Result;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a fault waits for its target to be there and whole before it counts as not fired.
const WAIT: Duration = Duration::from_secs(10);

/// How long a coordinator whose disk is full may take to notice.
const NOTICE: Duration = Duration::from_secs(10);

/// A fault that works now.
#[derive(Clone, Copy, Debug)]
struct Working {
    fault: Fault,
    /// Whom it hits; of a split or mute link, the first.
    member: Member,
    until: Instant,
}

/// What became of the faults of a run.
#[derive(Clone, Debug, Default)]
pub struct Fired {
    /// By fault, those that did what they should.
    pub fired: Vec<Fault>,
    /// Those that did not, and why.
    pub unfired: Vec<(Fault, String)>,
}

/// Breaks and mends a site as time passes.
pub struct Breaker {
    open: VecDeque<(Instant, Planned)>,
    working: Vec<Working>,
    done: Fired,
    /// Clients yet to be killed: whoever submits looks here.
    clients: u32,
}

impl Breaker {
    /// For faults counted from now.
    pub fn new(plan: Vec<Planned>) -> Self {
        let now = Instant::now();
        Self {
            open: plan.into_iter().map(|one| (now + one.at, one)).collect(),
            working: Vec::new(),
            done: Fired::default(),
            clients: 0,
        }
    }

    /// Whether there is a client to be killed; it is then the caller's to do.
    pub fn take_client(&mut self) -> bool {
        let wanted = self.clients > 0;
        self.clients -= u32::from(wanted);
        wanted
    }

    /// A client was to be killed: `killed`, or it had ended before and another is wanted.
    pub fn client(&mut self, killed: bool) {
        match killed {
            true => self.done.fired.push(Fault::KillClient),
            false => self.clients += 1,
        }
    }

    /// Whether anything is still to be broken or mended.
    pub fn is_busy(&self) -> bool {
        !self.open.is_empty() || !self.working.is_empty()
    }

    /// What has fired; call when it is not busy any more. A client that nobody killed has not.
    pub fn finish(mut self) -> Fired {
        for _ in 0..self.clients {
            let why = "no client lived long enough".to_owned();
            self.done.unfired.push((Fault::KillClient, why));
        }
        self.done
    }

    /// Does what is due.
    /// # Errors
    /// What the system said: the run is worth nothing.
    pub fn step(&mut self, site: &mut Site) -> Result<()> {
        let now = Instant::now();
        let all = std::mem::take(&mut self.working).into_iter();
        let (over, working): (Vec<_>, Vec<_>) = all.partition(|one| one.until <= now);
        self.working = working;
        for one in over {
            self.mend(site, one)?;
        }
        // Those that wait for their target let later ones pass.
        for _ in 0..self.open.len() {
            let Some((due, planned)) = self.open.pop_front() else {
                break;
            };
            if due > now {
                self.open.push_back((due, planned));
                continue;
            }
            match self.start(site, planned)? {
                None => {}
                Some(_) if now < due + WAIT => self.open.push_back((due, planned)),
                Some(why) => self.done.unfired.push((planned.fault, why)),
            }
        }
        Ok(())
    }

    fn is_hit(&self, member: Member) -> bool {
        self.working.iter().any(|one| {
            let second = match one.fault {
                Fault::Split(_, second) | Fault::Mute(_, second) => second,
                _ => one.member,
            };
            one.member == member || second == member
        })
    }

    /// `Some`: not now, and why.
    fn start(&mut self, site: &mut Site, planned: Planned) -> Result<Option<String>> {
        let fault = planned.fault;
        let member = match fault {
            Fault::KillClient => {
                self.clients += 1;
                return Ok(None);
            }
            Fault::Kill(target) | Fault::Pause(target) | Fault::Cut(target) => match target {
                Target::Member(member) => member,
                Target::Leader => match site.leader() {
                    Some(leader) => leader,
                    None => return Ok(Some("no coordinator leads".to_owned())),
                },
            },
            Fault::Split(first, second) | Fault::Mute(first, second) => {
                if self.is_hit(second) {
                    return Ok(Some(format!("{second} is hit already")));
                }
                first
            }
            Fault::FillDisk(member) => member,
        };
        if self.is_hit(member) {
            return Ok(Some(format!("{member} is hit already")));
        }
        let gone = || Ok(Some(format!("{member} does not run")));
        match fault {
            Fault::Kill(_) => match site.process(member) {
                Some(process) => {
                    if !process.kill()? {
                        return gone();
                    }
                }
                None => return gone(),
            },
            Fault::Pause(_) => match site.process(member) {
                Some(process) => {
                    if !process.pause()? {
                        return gone();
                    }
                }
                None => return gone(),
            },
            Fault::Cut(_) => site.network().own()?.cut(member)?,
            Fault::Split(first, second) => {
                let own = site.network().own()?;
                own.mute(first, second)?;
                own.mute(second, first)?;
            }
            Fault::Mute(first, second) => site.network().own()?.mute(first, second)?,
            Fault::FillDisk(_) => site.disk_of(member)?.fill()?,
            Fault::KillClient => {}
        }
        let lasts = match fault {
            // It is mended as soon as the process has ended of it.
            Fault::FillDisk(_) => NOTICE,
            _ => planned.lasts,
        };
        self.working.push(Working {
            fault,
            member,
            until: Instant::now() + lasts,
        });
        Ok(None)
    }

    /// Full disks that have done their work are due.
    /// # Errors
    /// What the system said.
    pub fn notice(&mut self, site: &mut Site) -> Result<()> {
        for one in &mut self.working {
            if let Fault::FillDisk(member) = one.fault
                && let Some(process) = site.process(member)
                && process.ended()?.is_some()
            {
                one.until = Instant::now();
            }
        }
        Ok(())
    }

    fn mend(&mut self, site: &mut Site, one: Working) -> Result<()> {
        let Working { fault, member, .. } = one;
        let mut why = None;
        match fault {
            Fault::Kill(_) => site.run(member)?,
            Fault::Pause(_) => {
                if let Some(process) = site.process(member) {
                    if !process.is_paused() {
                        why = Some("it did not stop");
                    }
                    process.resume()?;
                }
            }
            Fault::Cut(_) => {
                let own = site.network().own()?;
                if !own.is_cut(member)? {
                    why = Some("its link was there");
                }
                own.join(member)?;
            }
            Fault::Split(first, second) => {
                let own = site.network().own()?;
                if !own.is_mute(first, second)? || !own.is_mute(second, first)? {
                    why = Some("they could hear each other");
                }
                own.unmute(first, second)?;
                own.unmute(second, first)?;
            }
            Fault::Mute(first, second) => {
                let own = site.network().own()?;
                if !own.is_mute(first, second)? {
                    why = Some("it could be heard");
                }
                own.unmute(first, second)?;
            }
            Fault::FillDisk(_) => {
                site.disk_of(member)?.free()?;
                let ended = match site.process(member) {
                    Some(process) => process.ended()?.is_some(),
                    None => false,
                };
                match ended {
                    true => site.run(member)?,
                    false => why = Some("it went on without room"),
                }
            }
            Fault::KillClient => {}
        }
        match why {
            None => self.done.fired.push(fault),
            Some(why) => self.done.unfired.push((fault, why.to_owned())),
        }
        Ok(())
    }
}

/// Coordinators and nodes that have ended though nobody killed them.
/// # Errors
/// What the system said.
pub fn ended_by_themselves(site: &mut Site) -> Result<BTreeMap<Member, String>> {
    let mut ended = BTreeMap::new();
    for member in (1..=COORDINATORS).chain(site.nodes()) {
        if let Some(process) = site.process(member)
            && process.ended()?.is_some()
        {
            ended.insert(member, process.last_words());
        }
    }
    Ok(ended)
}
