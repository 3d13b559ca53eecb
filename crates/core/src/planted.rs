//! Bugs that can be switched on, to show that the simulation sees them: each is one small mistake at the place where it
//! would be made. One build holds all; a thread has at most one of them at a time.
//!
//! Never in a release: the feature `planted` is off unless asked for, and does not build without debug assertions.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("planted bugs are for simulations: the feature `planted` needs debug assertions");

/// Whether a planted bug is switched on. A plain `false` where none are built in.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(feature = "planted")]
        let on = crate::planted::is(crate::planted::Planted::$bug);
        #[cfg(not(feature = "planted"))]
        let on = false;
        on
    }};
}

/// A list of planted bugs: the enum `Planted`, its names and its texts. For this crate and the coordinator's.
#[cfg(feature = "planted")]
#[macro_export]
macro_rules! planted_bugs {
    ($($(#[doc = $text:literal])* $name:ident,)*) => {
        /// One planted bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Planted { $($(#[doc = $text])* $name,)* }

        impl Planted {
            /// All of them.
            pub const ALL: &[Planted] = &[$(Planted::$name),*];

            /// What is wrong.
            pub fn text(self) -> &'static str {
                match self { $(Planted::$name => concat!($($text),*).trim_ascii(),)* }
            }
        }

        thread_local! {
            static ON: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
        }

        /// Switches a bug on for this thread, or all off.
        pub fn plant(bug: Option<Planted>) {
            ON.set(bug);
        }

        /// Whether this bug is on.
        pub fn is(bug: Planted) -> bool {
            ON.get() == Some(bug)
        }
    };
}

#[cfg(feature = "planted")]
mod on {
    use std::cell::Cell;

    thread_local! {
        static TICKS: Cell<u64> = const { Cell::new(0) };
    }

    /// A clock that no two replicas read alike; 0 unless [`Planted::ReplicaClock`] is on.
    pub(crate) fn tick() -> u64 {
        if is(Planted::ReplicaClock) {
            TICKS.set(TICKS.get() + 1);
        }
        TICKS.get()
    }

    planted_bugs! {
        /// A request id that is known makes another Job.
        RequestIdIgnored,
        /// Another request under a known id is answered with the old Job.
        RequestNotCompared,
        /// A process that registers again gets another number.
        IncarnationIgnored,
        /// A Node that starts again leaves its former self registered.
        FormerNodeKept,
        /// A Node gets a number that was given before.
        NodeNumberReused,
        /// Leases do not end when their Node is forgotten.
        LeasesSurviveForget,
        /// A result is taken from an Attempt that lost its Lease to another.
        StaleAttemptAccepted,
        /// A late end of a Lease ends that of a newer Attempt.
        ExpireIgnoresAttempt,
        /// A Node keeps a Lease whose Attempt has ended.
        LeaseStaysWithNode,
        /// A Node keeps the Leases that the end of a Job took away.
        RevokeNotSettled,
        /// A request id still answers with a Job that is forgotten.
        RequestOutlivesJob,
        /// A new Leader does not know that a Plan is to be made.
        PendingForgetsPlan,
        /// A new Leader does not know that a decision is due.
        PendingForgetsDecide,
        /// An Attempt whose Node fell silent and the next one have the same number.
        AttemptNumberReused,
        /// A Lease is granted under a number that was used before.
        GrantAnyNumber,
        /// A Lease is granted on a Task that nobody needs any more.
        GrantNotOpen,
        /// A Task whose Lease ended is never offered again.
        ExpireForgetsTask,
        /// A Task whose Attempt failed is never offered again.
        FailureForgetsTask,
        /// An event is numbered one too high.
        EventIndexSkipped,
        /// Leases of the old Plan outlive it.
        ReplanKeepsLeases,
        /// Events are taken back when a Job is planned again.
        ReplanDropsEvents,
        /// Attempts of a new Plan count from 1 again.
        ReplanRestartsNumbers,
        /// After an index that lied it is trusted again.
        ReplanLooksQuickly,
        /// A Plan that starts over keeps the Segments of its first try.
        PlanKeepsOldParts,
        /// A Plan made from the quick look is taken after the deep one.
        PlanGradeIgnored,
        /// A Plan is taken though parts of it are missing.
        PlanIncomplete,
        /// A Job that has ended is cancelled.
        EndsTwice,
        /// Leases outlive their Job.
        EndKeepsLeases,
        /// A Task that always fails is tried for ever.
        FailuresNotCounted,
        /// Failures with other settings still count.
        ReopenKeepsFailures,
        /// A Task is tried again at once though the store is short of breath.
        NoBackoff,
        /// A Task goes again to the Node that cannot do it.
        RefusalForgotten,
        /// An index that lied is trusted until the Job fails.
        IndexLiedRetried,
        /// A Task may fail once more than is promised.
        OneTryTooMany,
        /// Nobody is asked for the Plan of a probed Job.
        PlanNotAsked,
        /// Nobody is asked for the knobs that follow from finished work.
        DecisionNotAsked,
        /// A Job is done with its first Output.
        DoneTooEarly,
        /// A Chunk counts that answers another question.
        AddressNotCompared,
        /// The Chunk of another Segment counts as this one.
        SegmentNotCompared,
        /// A Chunk comes twice in one result, and its twin escapes the checks. Was real: found by this simulation.
        TwinTaken,
        /// Chunks of different parameter sets are joined.
        ParamsNotCompared,
        /// Neighbours that saw different frames at their joint both count.
        JointNotCompared,
        /// A finished Segment is encoded again.
        FinishedStaysOpen,
        /// A Chunk that is to be made again is never offered.
        ReopenForgetsTask,
        /// A Chunk with the old knob counts after a new one was decided.
        ReopenKeepsChunk,
        /// A decision that was made on older facts counts.
        RoundIgnored,
        /// What a stitch found broken is decided about again and again.
        ViolationsKept,
        /// A size that was promised is not looked at.
        PromiseNotLookedAt,
        /// An Output is stitched before its sound is there.
        StitchedWithoutSound,
        /// An Output is stitched while its Chunks may be asked for again.
        StitchedUnsettled,
        /// A trial whose Lease ended is never offered again.
        TrialForgotten,
        /// The file of another Output counts as this one.
        OutputNotCompared,
        /// What a Chunk showed is remembered for another Segment.
        HistoryOfAnother,
        /// A Task that backs off is offered.
        ReadyTooEarly,
        /// Jobs are served by age alone.
        PriorityIgnored,
        /// A replica that comes back from a snapshot has forgotten how often a Task was tried.
        SnapshotLosesTries,
        /// A Task is placed on a Node that has refused it.
        PlacedWhereRefused,
        /// A Node gets more than it has room for.
        NodeOverfilled,
        /// Applying an entry reads a clock of the replica's own.
        ReplicaClock,
    }
}

#[cfg(feature = "planted")]
pub use on::{Planted, is, plant};

#[cfg(feature = "planted")]
pub(crate) use on::tick;

#[cfg(not(feature = "planted"))]
pub(crate) const fn tick() -> u64 {
    0
}
