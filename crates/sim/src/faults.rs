//! The classes of faults, and how often each really happened. A fault counts when it has changed something, not when it was
//! planned: a message that was to be lost on a link that was cut anyway is no fault.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// One class of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// All classes.
            pub const ALL: [Fault; [$($text),*].len()] = [$(Fault::$name),*];

            /// The name in totals.
            pub fn name(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }
        }
    };
}

faults! {
    /// A message did not arrive.
    MessageLost = "message lost",
    /// A message took seconds.
    MessageDelayed = "message delayed",
    /// A message arrived twice.
    MessageDuplicated = "message duplicated",
    /// A message overtook another of its stream.
    MessageReordered = "message reordered",
    /// An exchange between Node and Leader broke, with everything under way on it.
    ExchangeBroken = "exchange broken",
    /// A coordinator was cut off in both directions.
    Partition = "partition",
    /// A coordinator was heard no more, or heard no more.
    OneWayCut = "one-way cut",
    /// A coordinator process died and started again.
    CoordinatorCrash = "coordinator crash",
    /// A coordinator stood still and went on as if nothing had been.
    CoordinatorPause = "coordinator pause",
    /// Another coordinator came to lead though the former one was well.
    LeaderChange = "leader change",
    /// Entries that were written and not yet on disk went with a crash.
    UnsyncedTailLost = "unsynced tail lost",
    /// Proposals of a former Leader were lost.
    ProposalLost = "proposal lost",
    /// Proposals of a former Leader became part of the log after its end.
    ProposalLate = "proposal late",
    /// A command became part of the log a second time.
    CommandEchoed = "command echoed",
    /// A confused Leader proposed what does not fit the state.
    CommandAbsurd = "command out of place",
    /// The log took so long that a proposer gave up waiting.
    SlowLog = "slow log",
    /// A coordinator went on from the encoding of a snapshot.
    SnapshotRestored = "snapshot restored",
    /// A Node process died and another took its place.
    NodeCrash = "node crash",
    /// A Node's machine died for good.
    NodeGone = "node gone for good",
    /// A Node stood still and went on as if nothing had been.
    NodePause = "node pause",
    /// An Attempt failed.
    AttemptFailed = "attempt failed",
    /// An Attempt answered with something that was not asked.
    AttemptLied = "attempt lied",
    /// An Attempt did not end.
    AttemptHung = "attempt hung",
    /// An Attempt ended after its Lease had.
    ResultLate = "result late",
    /// The clocks of two processes ran at rates more than a tenth apart.
    ClockSkew = "clock skew",
    /// The wall clock of a coordinator was wrong by minutes to hours.
    ClockJump = "clock jump",
    /// A client gave up waiting, without knowing what had become of its call.
    CallUnknown = "call unknown",
    /// The work store did not take or give an object.
    StoreFailed = "store failed",
    /// A write that was not flushed arrived in part, or without one before it, when its process died.
    TornWrite = "torn write",
    /// A flush took up to seconds.
    SlowDisk = "slow disk",
    /// A disk took no more bytes.
    DiskFull = "disk full",
    /// A coordinator ended by itself, since it could not go on.
    ProcessEnded = "process ended",
    /// A follower that lagged got a snapshot from the Leader.
    SnapshotInstalled = "snapshot installed",
}

impl Fault {
    /// What may fire in runs of the core alone.
    pub fn of_core() -> impl Iterator<Item = Fault> {
        use Fault::{DiskFull, NodeGone, ProcessEnded, SlowDisk, SnapshotInstalled, TornWrite};
        let others = [
            TornWrite,
            SlowDisk,
            DiskFull,
            ProcessEnded,
            SnapshotInstalled,
            NodeGone,
        ];
        Fault::ALL.into_iter().filter(move |f| !others.contains(f))
    }

    /// What may fire in runs of whole coordinators.
    pub fn of_cluster() -> impl Iterator<Item = Fault> {
        use Fault::{CommandAbsurd, CommandEchoed, ProposalLate, ProposalLost, SlowLog};
        // The log of these runs is the real one: what happens to it follows from the rest, and is not counted.
        let others = [
            CommandAbsurd,
            CommandEchoed,
            ProposalLate,
            ProposalLost,
            SlowLog,
        ];
        Fault::ALL.into_iter().filter(move |f| !others.contains(f))
    }
}

/// How often each class fired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired([u64; Fault::ALL.len()]);

impl Default for Fired {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl Fired {
    /// One more.
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// Those of another run too.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// How often a class fired.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}
