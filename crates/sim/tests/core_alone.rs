//! A small part of what `make chaos` runs, quick enough for every test run.

use recode_sim::campaign;
use recode_sim::core_alone;
use recode_sim::faults::Fault;
use recode_sim::film::Library;
use recode_sim::report::Kind;
use std::sync::Arc;

#[test]
fn whatever_happens_nothing_is_lost_or_done_twice() {
    let totals = campaign::run(Kind::Core, 0..50, 2, None, &|report| {
        eprintln!("{}\n{:?}", report.last.join("\n"), report.broken);
    });
    assert_eq!(totals.broken, [], "seeds and what they broke");
    assert!(totals.void < 3, "{} runs had too few faults", totals.void);
    let silent: Vec<&str> = Fault::of_core()
        .filter(|fault| totals.fired.of(*fault) == 0)
        .map(|fault| fault.name())
        .collect();
    assert!(silent.is_empty(), "these faults never fired: {silent:?}");
    assert!(
        totals.ends[0] > totals.ends[1],
        "most jobs get done: {:?}",
        totals.ends
    );
}

#[test]
fn one_seed_is_one_run() {
    let library = Arc::new(Library::new());
    let mut digests = std::collections::BTreeSet::new();
    for seed in 1_000..1_006 {
        let first = core_alone::run(seed, &library, false);
        // Lines change nothing, nor does another library, nor the thread.
        let again = std::thread::spawn(move || {
            let report = core_alone::run(seed, &Arc::new(Library::new()), true);
            (report.digest, report.fired, report.commands)
        });
        let again = again.join().expect("panics are caught inside");
        assert_eq!(
            (first.digest, first.fired, first.commands),
            again,
            "seed {seed}"
        );
        digests.insert(first.digest);
    }
    assert_eq!(digests.len(), 6, "another seed is another run");
}

#[cfg(feature = "planted")]
#[test]
fn planted_bugs_are_found() {
    use recode_core::planted::Planted;
    use recode_sim::planted::{Bug, find};
    for bug in [
        Planted::StaleAttemptAccepted,
        Planted::LeasesSurviveForget,
        Planted::EventIndexSkipped,
        Planted::PlanNotAsked,
    ] {
        let found = find(Bug::Core(bug), 0, std::time::Duration::from_secs(60));
        assert!(found.by.is_some(), "{bug:?} hides in {} runs", found.runs);
    }
}
