//! A small part of what `make chaos` runs, quick enough for every test run.

use recode_sim::campaign;
use recode_sim::report::Kind;

#[test]
fn whatever_happens_to_coordinators_nothing_is_lost_or_done_twice() {
    let totals = campaign::run(Kind::Cluster, 0..12, 2, None, &|report| {
        eprintln!("{}\n{:?}", report.last.join("\n"), report.broken);
    });
    assert_eq!(totals.broken, [], "seeds and what they broke");
    assert!(
        totals.runs >= 10,
        "{} runs had too little in them",
        totals.void
    );
    assert!(totals.terms >= 24, "{} changes of leader", totals.terms);
    assert!(
        totals.ends[0] > totals.ends[1],
        "most jobs get done: {:?}",
        totals.ends
    );
}

/// Only where `select!` can be seeded, as `make chaos` does.
#[cfg(tokio_unstable)]
#[test]
fn one_seed_is_one_run_of_coordinators() {
    use recode_sim::film::Library;
    use std::sync::Arc;
    let library = Arc::new(Library::new());
    let mut digests = std::collections::BTreeSet::new();
    for seed in 1_000..1_004 {
        let first = Kind::Cluster.run(seed, &library, false);
        // Lines change nothing, nor does another library, nor the thread.
        let again = std::thread::spawn(move || {
            let report = Kind::Cluster.run(seed, &Arc::new(Library::new()), true);
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
    assert_eq!(digests.len(), 4, "another seed is another run");
}
