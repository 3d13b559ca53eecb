//! Bugs that can be switched on, to show that the simulation sees them; see `recode_core::planted`, whose rules hold here
//! too.

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

#[cfg(feature = "planted")]
recode_core::planted_bugs! {
    /// A vote is answered before it is on disk.
    VoteNotSynced,
    /// An entry is acknowledged when it is handed to the log's writer.
    AppendNotSynced,
    /// An entry is acknowledged when it is written, without a flush.
    FlushForgotten,
    /// The name of a new file of the log is not made durable.
    DirNotSynced,
    /// A new file of the log does not repeat the vote.
    VoteLostInRotation,
    /// Entries of one append are written in another order.
    AppendReordered,
    /// Entries that were cut off are there again after a restart.
    TruncateNotWritten,
    /// A torn tail of the log is read as if it were whole.
    TornTailTaken,
    /// A snapshot is renamed into place before its bytes are on disk.
    SnapshotNotSynced,
    /// A snapshot says that it holds one entry more than it does.
    SnapshotTooNew,
    /// A snapshot that came from the Leader is stored, and the old state goes on.
    SnapshotNotTaken,
    /// Request ids are lost when a snapshot is installed.
    SnapshotLosesRequests,
    /// The members are lost with a snapshot.
    SnapshotLosesMembers,
    /// An entry that was applied is applied again when its batch is.
    AppliedTwice,
    /// A Leader that nobody has confirmed for long answers.
    StaleLeaderAnswers,
    /// What makes a Leader goes on when another leads.
    SeatKept,
    /// A Leader begins before it has applied what former ones had committed.
    BarrierSkipped,
    /// A new Leader does not look for what former ones have left undone.
    PendingNotTaken,
    /// The time in the log follows the wall clock of whoever leads.
    ClockGoesBack,
    /// Callers that share an entry get each other's answers.
    AnswersSwapped,
    /// A call that is not answered in time counts as made.
    UnknownIsSuccess,
    /// Grants whose outcome is unknown are forgotten, and their Nodes never hear of them.
    UnknownGrantsForgotten,
    /// A grant that was lost on its way is not made again.
    LostGrantNotRepeated,
    /// A Stitch whose list could not be stored is forgotten.
    ListNotStoredForgotten,
    /// A Plan that could not be made is forgotten, and nobody hears why.
    PlanFailureForgotten,
    /// An event is not said to those who watch.
    EventNotSaid,
    /// Nodes that fall silent keep what they have.
    SilenceNotSeen,
}
