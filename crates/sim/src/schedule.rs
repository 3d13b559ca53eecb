//! What a seed draws before its run begins: how many of everything, and which faults at which rates. Each seed leaves
//! some classes out altogether, since a run in which everything breaks hides what breaks when little does.

use crate::film::Library;
use crate::rng::Rng;

/// Least faults of a run that counts.
pub const LEAST_FAULTS: u64 = 5;

/// The plan of one run.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Voters.
    pub coordinators: usize,
    /// Nodes.
    pub nodes: Vec<NodeDraw>,
    /// Jobs, each with the client that wants it.
    pub jobs: Vec<JobDraw>,
    /// When the faults stop.
    pub chaos_ms: u64,
    /// Faults.
    pub rates: Rates,
}

/// What one Node is like.
#[derive(Clone, Copy, Debug)]
pub struct NodeDraw {
    /// Heavy Attempts at once.
    pub heavy: u32,
    /// Light Attempts beside them.
    pub light: u32,
    /// How long it takes, in percent of the usual.
    pub slowness: u64,
    /// It cannot encode AV1.
    pub lacks_av1: bool,
    /// Its clock, in permille of the true rate.
    pub rate: u64,
}

/// What one client wants.
#[derive(Clone, Copy, Debug)]
pub struct JobDraw {
    /// Which of the [`crate::film::Library`]'s.
    pub template: usize,
    /// When it is submitted.
    pub at_ms: u64,
    /// Its priority.
    pub priority: u8,
    /// How long after its submission somebody cancels it.
    pub cancel_after_ms: Option<u64>,
    /// It is forgotten when it has ended.
    pub forget: bool,
    /// Its request id is tried for another request too.
    pub misuse: bool,
}

/// How often what goes wrong while the chaos lasts. Permille are per message or per Attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Messages lost; on a stream the stream breaks.
    pub lose: u32,
    /// Messages that take seconds.
    pub delay: u32,
    /// Messages that come twice.
    pub duplicate: u32,
    /// Messages that overtake.
    pub reorder: u32,
    /// Attempts that fail.
    pub fail: u32,
    /// Attempts that answer something else.
    pub lie: u32,
    /// Attempts that never end.
    pub hang: u32,
    /// Objects that the work store does not take or give.
    pub store: u32,
    /// Mean time between larger faults.
    pub every_ms: u64,
    /// Crashes and restarts of coordinators.
    pub crash: u32,
    /// Pauses of coordinators.
    pub pause: u32,
    /// Coordinators cut off.
    pub cut: u32,
    /// Changes of Leader without need.
    pub depose: u32,
    /// Old commands that land again.
    pub echo: u32,
    /// Commands that do not fit.
    pub absurd: u32,
    /// Coordinators that go on from a snapshot.
    pub restore: u32,
    /// Disks that take seconds.
    pub slow_disk: u32,
    /// Disks that take no more bytes.
    pub full_disk: u32,
    /// Crashes of Nodes.
    pub node_crash: u32,
    /// Pauses of Nodes.
    pub node_pause: u32,
    /// Wall clocks that are wrong.
    pub clock: u32,
    /// Crashes of most coordinators at once.
    pub outage: u32,
    /// Nodes that die for good.
    pub node_gone: u32,
    /// Times in which the work store answers nothing.
    pub store_outage: u32,
    /// Permille of the moments at which a fault finds a coordinator in the middle of something.
    pub aim: u32,
}

/// A rate, or none of that class in this run.
fn some(rng: &mut Rng, most: u64) -> u32 {
    match rng.chance(550) {
        true => rng.within(1, most) as u32,
        false => 0,
    }
}

impl Schedule {
    /// Draws a plan.
    /// `templates`: how many kinds of Job there are.
    pub fn draw(rng: &mut Rng, templates: usize) -> Self {
        let skewed = rng.chance(400);
        let nodes = (0..rng.within(2, 4))
            .map(|_| NodeDraw {
                heavy: rng.within(1, 3) as u32,
                light: rng.within(1, 3) as u32,
                slowness: if rng.chance(200) {
                    rng.within(200, 600)
                } else {
                    rng.within(80, 130)
                },
                lacks_av1: rng.chance(150),
                rate: if skewed { rng.within(800, 1200) } else { 1000 },
            })
            .collect();
        let jobs = (0..rng.within(2, 4))
            .map(|_| JobDraw {
                template: rng.index(templates),
                at_ms: rng.within(0, 20_000),
                priority: rng.pick(&[0, 50, 50, 50, 100]),
                cancel_after_ms: rng.chance(150).then(|| rng.within(0, 40_000)),
                forget: rng.chance(250),
                misuse: rng.chance(250),
            })
            .collect();
        let rates = Rates {
            lose: some(rng, 25),
            delay: some(rng, 25),
            duplicate: some(rng, 60),
            reorder: some(rng, 60),
            fail: some(rng, 120),
            lie: some(rng, 100),
            hang: some(rng, 30),
            store: some(rng, 80),
            every_ms: rng.within(1_000, 8_000),
            crash: some(rng, 10),
            pause: some(rng, 10),
            cut: some(rng, 10),
            depose: some(rng, 10),
            echo: some(rng, 30),
            absurd: some(rng, 30),
            restore: some(rng, 10),
            slow_disk: some(rng, 6),
            node_crash: some(rng, 10),
            node_pause: some(rng, 10),
            clock: some(rng, 6),
            ..Rates::default()
        };
        Self {
            coordinators: rng.pick(&[1, 3, 3, 3, 3, 3, 5]),
            nodes,
            jobs,
            chaos_ms: rng.within(30_000, 75_000),
            rates,
        }
    }

    /// Draws a plan for whole coordinators: always three of them, and Jobs with enough Tasks together.
    pub fn draw_cluster(rng: &mut Rng, library: &Library) -> Self {
        let mut plan = Self::draw(rng, library.templates.len());
        plan.coordinators = 3;
        plan.chaos_ms = rng.within(40_000, 70_000);
        plan.rates.full_disk = if rng.chance(300) {
            rng.within(1, 4) as u32
        } else {
            0
        };
        plan.rates.outage = some(rng, 6);
        plan.rates.node_gone = some(rng, 4);
        plan.rates.store_outage = some(rng, 6);
        plan.rates.aim = some(rng, 20);
        // Of the faults that come at intervals some must be possible.
        plan.rates.crash = plan.rates.crash.max(1);
        // Losing one message in forty breaks every stream within seconds.
        plan.rates.lose = plan.rates.lose.div_ceil(3);
        let tasks = |job: &JobDraw| {
            let outputs = library.end(job.template, false);
            outputs.iter().map(Vec::len).sum::<usize>() + 2 * outputs.len() + 1
        };
        // Some Jobs are cancelled before they have done all.
        let sure = |jobs: &[JobDraw]| {
            let sure = jobs.iter().filter(|job| job.cancel_after_ms.is_none());
            sure.map(tasks).sum::<usize>()
        };
        while sure(&plan.jobs) < 70 {
            let more = Self::draw(rng, library.templates.len()).jobs;
            plan.jobs.extend(more);
        }
        for _ in 0..rng.below(4) {
            // More that somebody ends in the middle of its work.
            let mut more = Self::draw(rng, library.templates.len()).jobs[0];
            more.cancel_after_ms = Some(rng.within(0, 30_000));
            plan.jobs.push(more);
        }
        for job in &mut plan.jobs {
            job.at_ms = rng.within(0, plan.chaos_ms * 3 / 4);
            job.forget = false;
        }
        plan
    }
}
