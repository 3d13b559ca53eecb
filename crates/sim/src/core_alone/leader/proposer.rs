//! What is written into the log together, and who waits for the answer.

use super::*;

impl World {
    pub(super) fn start(&mut self, at: usize) {
        let (now, instant) = (self.now, self.instant(at));
        let one = &mut self.coordinators[at];
        let wall = (1_700_000_000_000 + now as i64 + one.wall_error_ms) as u64;
        let pending = one.state.pending_effects();
        pending.iter().for_each(|e| one.gathered.add(e));
        let at_ms = one.at_ms;
        let Some(reign) = one.reign.as_deref_mut() else {
            return;
        };
        reign.started = true;
        reign.since = now;
        reign.base_ms = wall.max(at_ms);
        reign.registry = Some(Registry::new(instant));
        let term = reign.term;
        self.after(1_000, Event::Round { at, term });
        self.stirred.insert(at);
    }

    pub fn step_down(&mut self, at: usize, term: u64) {
        let place = Place::Coordinator(at);
        let hears = (0..self.coordinators.len())
            .any(|c| c != at && self.passes(Place::Coordinator(c), place));
        let Some(reign) = &self.coordinators[at].reign else {
            return;
        };
        if reign.term != term {
            return;
        }
        if !hears {
            self.after(500, Event::StepDown { at, term });
            return;
        }
        self.trace
            .line(self.now, || format!("coordinator {at} leads no more"));
        // Whoever waits for an answer hears that it does not lead; what became of their commands is not known.
        let reign = self.coordinators[at].reign.take().expect("looked at above");
        let written = reign.writing.into_iter().flat_map(|w| w.waiting);
        let waiting = written
            .map(|w| w.1)
            .chain(reign.queue.into_iter().map(|q| q.1));
        for reply in waiting.collect::<Vec<_>>() {
            if let Reply::Call { client, call } = reply {
                self.answer(at, client, call, Answer::NotLeading);
            }
        }
        self.hang_up_all(at);
    }

    // ---- the proposer

    pub fn propose(&mut self, at: usize, commands: Vec<Command>, reply: Reply) {
        if let Some(reign) = self.reign(at) {
            reign.queue.push_back((commands, reply));
            self.pump(at);
        }
    }

    pub(super) fn pump(&mut self, at: usize) {
        let at_ms = self.now_ms(at);
        let Some(reign) = self.reign(at) else {
            return;
        };
        if reign.writing.is_some() || reign.queue.is_empty() {
            return;
        }
        let (mut entries, mut waiting) = (Vec::new(), Vec::new());
        while entries.len() < MOST_TOGETHER
            && let Some((commands, reply)) = reign.queue.pop_front()
        {
            waiting.push((commands.len(), reply));
            entries.extend(commands.into_iter().map(|command| Entry { at_ms, command }));
        }
        reign.writes += 1;
        let (number, term) = (reign.writes, reign.term);
        let index = self.append(at, Batch(entries));
        if let Some(reign) = self.reign(at) {
            reign.writing = Some(Write {
                number,
                index,
                waiting,
            });
        }
        self.after(
            DEADLINE_MS,
            Event::Deadline {
                at,
                term,
                write: number,
            },
        );
    }

    pub fn on_deadline(&mut self, at: usize, term: u64, write: u64) {
        let Some(reign) = self.reign_of(at, term) else {
            return;
        };
        let Some(late) = reign.writing.take_if(|w| w.number == write) else {
            return;
        };
        self.fired.add(Fault::SlowLog);
        for (_, reply) in late.waiting {
            self.replied(at, reply, None);
        }
        self.pump(at);
    }

    /// This coordinator has applied an entry.
    pub fn on_applied(&mut self, at: usize, index: usize) {
        let term = self.log.entries[index].term;
        self.stirred.insert(at);
        let Some(reign) = self.reign(at).filter(|r| r.term == term) else {
            return;
        };
        if !reign.started {
            self.start(at);
            return;
        }
        let Some(write) = reign.writing.take_if(|w| w.index == Some(index)) else {
            return;
        };
        let answers = self.log.answers[index].clone();
        let mut outcomes = answers.iter().map(|a| a.0.clone());
        for (count, reply) in write.waiting {
            let mine = outcomes.by_ref().take(count).collect();
            self.replied(at, reply, Some(mine));
        }
        self.pump(at);
    }

    /// The log has answered, or not in time.
    pub(super) fn replied(&mut self, at: usize, reply: Reply, outcomes: Option<Vec<Outcome>>) {
        let instant = self.instant(at);
        let one = &mut self.coordinators[at];
        let Some(reign) = one.reign.as_deref_mut() else {
            return;
        };
        let term = reign.term;
        match reply {
            Reply::Nobody => {}
            Reply::Registered { exchange, report } => {
                reign.waits = false;
                let Some(Outcome::Registered { node }) = outcomes.and_then(|o| o.first().cloned())
                else {
                    self.refuse(exchange);
                    return;
                };
                reign
                    .registry()
                    .opened(node, exchange as u64, *report, instant);
                let former = reign.orders.insert(node, exchange);
                if let Some(former) = former
                    && former != exchange
                {
                    self.hang_up(former);
                }
                let hello = NodeOrders {
                    node: Some(node),
                    ..NodeOrders::default()
                };
                self.order(at, node, hello);
                self.after_report(at, node, true);
            }
            Reply::Completed(finished) => {
                reign.waits = false;
                let Some(outcomes) = outcomes else {
                    reign.finished = finished;
                    return;
                };
                let registry = reign.registry.as_mut().expect("it has started");
                recode_core::leader::judge(registry, &one.state, &finished, &outcomes, instant);
                let mut acknowledged: BTreeMap<NodeId, Vec<AttemptToken>> = BTreeMap::new();
                for (token, (node, outcome)) in finished {
                    let took = match &outcome {
                        AttemptOutcome::Done { result, usage } if !result.is_reused() => {
                            Some(std::time::Duration::from_millis(usage.wall_ms))
                        }
                        _ => None,
                    };
                    reign.registry().ended(node, &token, took, instant);
                    acknowledged.entry(node).or_default().push(token);
                }
                reign.due = true;
                for (node, acknowledged) in acknowledged {
                    let orders = NodeOrders {
                        acknowledged,
                        ..NodeOrders::default()
                    };
                    self.order(at, node, orders);
                }
            }
            Reply::Expired(silent) => {
                reign.waits = false;
                if outcomes.is_none() {
                    return;
                }
                reign.due = true;
                let mut streams = Vec::new();
                for node in silent {
                    reign.registry().forget(node);
                    streams.extend(reign.orders.remove(&node));
                }
                for exchange in streams {
                    self.hang_up(exchange);
                }
            }
            Reply::Granted { problem, grants } => {
                reign.waits = false;
                let Some(outcomes) = outcomes else {
                    // Whether they hold is not known: who might hold one dials again, and then everything is compared.
                    let nodes: BTreeSet<NodeId> = grants.iter().map(|g| g.node).collect();
                    let mut streams = Vec::new();
                    for node in nodes {
                        if let Some(exchange) = reign.orders.remove(&node) {
                            reign.registry().closed(node, exchange as u64);
                            streams.push(exchange);
                        }
                    }
                    for exchange in streams {
                        self.hang_up(exchange);
                    }
                    return;
                };
                if let Some(Outcome::Granted { results }) = outcomes.last() {
                    self.granted(at, &problem, &grants, results);
                }
            }
            Reply::Planner {
                job,
                mut rest,
                decides,
            } => {
                if outcomes.is_none() {
                    if decides {
                        reign.deciding = false;
                    } else {
                        reign.planning -= 1;
                    }
                    self.after(1_000, Event::PlanAgain { at, term, job });
                    return;
                }
                match rest.pop_front() {
                    Some(commands) => {
                        self.propose(at, commands, Reply::Planner { job, rest, decides });
                    }
                    None if decides => reign.deciding = false,
                    None => reign.planning -= 1,
                }
            }
            Reply::Call { client, call } => {
                let answer = match outcomes.and_then(|mut o| o.pop()) {
                    Some(outcome) => Answer::Outcome(outcome),
                    None => Answer::NotLeading,
                };
                self.answer(at, client, call, answer);
            }
        }
    }
}
