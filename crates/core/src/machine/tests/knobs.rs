//! Promised bitrates and peaks.

use super::*;
use recode_types::Rendition;

#[test]
fn a_broken_peak_limit_reopens_chunks_until_it_holds() {
    let mut rendition = rated(Codec::H264, RateControl::Crf(20_000));
    rendition.peak = Some(recode_types::rendition::PeakLimit {
        maxrate_bps: 1_000_000,
        bufsize_bits: 0,
    });
    let mut bench = Bench::running(request(vec![output("a.mp4", rendition)]));
    while bench.ready() != [STITCH] {
        assert!(bench.step(&even_size));
    }
    let attempt = bench.grant(STITCH);
    bench.done(
        STITCH,
        attempt,
        TaskResult::Revise {
            violations: vec![(2, 400, 5_000)],
        },
    );
    assert_eq!(bench.ready(), []);
    let commands = decide::next(&bench.state, JOB);
    assert_eq!(commands, decide::next(&bench.state, JOB));
    for command in &commands {
        assert_eq!(bench.apply(command.clone()), Outcome::Accepted);
        assert_eq!(
            bench.apply(command.clone()),
            Outcome::Rejected(Rejected::Outdated)
        );
    }
    assert_eq!(bench.ready(), [encode(2)]);
    let run = bench.state.jobs[&JOB].run().unwrap();
    assert_eq!(
        run.outputs[0].knobs[2].unwrap().buffer_start_milli,
        350,
        "told how full the buffer is"
    );
    while bench.step(&even_size) {}
    assert_eq!(bench.job_state(), JobState::Done);
}

#[test]
fn a_promised_bitrate_is_kept_by_rounds_of_knobs() {
    for (codec, bps) in [
        (Codec::H264, 200_000),
        (Codec::Av1, 300_000),
        (Codec::Mpeg2, 900_000),
    ] {
        let rendition = rated(codec, RateControl::Bitrate(bps));
        let mut bench = Bench::running(request(vec![output("a.mkv", rendition)]));
        // Twice as hard to encode in the middle; the trial preset is a third off.
        let size = |r: &Rendition, segment: u32, milli: u32| {
            let hard = if segment == 2 { 2.0 } else { 1.0 };
            let off = if r.preset.is_some() { 1.33 } else { 1.0 };
            let knob = f64::from(milli) / 1000.0;
            // MPEG-2's knob is a quantiser: its ratio counts.
            let falls = if r.codec == Codec::Mpeg2 {
                knob.powf(-0.8)
            } else {
                (-0.11 * knob).exp()
            };
            (400_000.0 * hard * off * falls) as u64
        };
        for _ in 0..20 {
            while bench.step(&size) {}
            for command in decide::next(&bench.state, JOB) {
                assert_eq!(bench.apply(command), Outcome::Accepted);
            }
        }
        assert_eq!(bench.job_state(), JobState::Done, "{codec}");
        let run = bench.state.jobs[&JOB].run().unwrap();
        let sum: u64 = run.outputs[0]
            .chunks
            .iter()
            .flatten()
            .map(|c| c.facts.payload_bytes)
            .sum();
        let target = bps * 10 / 8;
        assert!(
            sum.abs_diff(target) * 50 <= target,
            "{codec}: {sum} of {target}"
        );
    }
}

/// SVT-AV1 takes the limit as a hint: quality gives way, and the other Segments make up for what that takes from the promise.
#[test]
fn a_peak_limit_and_a_bitrate_are_kept_together() {
    let bps = 300_000;
    let mut rendition = rated(Codec::Av1, RateControl::Bitrate(bps));
    rendition.peak = Some(recode_types::rendition::PeakLimit {
        maxrate_bps: 450_000,
        bufsize_bits: 600_000,
    });
    let mut bench = Bench::running(request(vec![output("a.mkv", rendition)]));
    let size = |_: &Rendition, segment: u32, milli: u32| {
        let hard = if segment == 2 { 2.0 } else { 1.0 };
        (400_000.0 * hard * (-0.08 * f64::from(milli) / 1000.0).exp()) as u64
    };
    let chunk = |bench: &Bench, segment: usize| {
        let run = bench.state.jobs[&JOB].run().unwrap();
        run.outputs[0].chunks[segment].clone().unwrap()
    };
    let mut rounds = 0;
    let mut before = None;
    while bench.job_state() == JobState::Running {
        if bench.ready() == [STITCH] {
            let limit = *before.get_or_insert(chunk(&bench, 2).facts.payload_bytes * 9 / 10);
            if chunk(&bench, 2).facts.payload_bytes > limit {
                let attempt = bench.grant(STITCH);
                let violations = vec![(2, 500, 100_000)];
                bench.done(STITCH, attempt, TaskResult::Revise { violations });
            }
        }
        bench.step(&size);
        for command in decide::next(&bench.state, JOB) {
            assert!(!matches!(command, Command::FailJob { .. }), "{command:?}");
            assert_eq!(bench.apply(command), Outcome::Accepted);
        }
        rounds += 1;
        assert!(rounds < 200, "it ends");
    }
    assert_eq!(bench.job_state(), JobState::Done);
    let sum: u64 = (0..bench.state.jobs[&JOB].run().unwrap().plan.segments.len())
        .map(|segment| chunk(&bench, segment).facts.payload_bytes)
        .sum();
    let target = bps * 10 / 8;
    assert!(chunk(&bench, 2).facts.payload_bytes <= before.unwrap());
    assert!(sum.abs_diff(target) * 50 <= target, "{sum} of {target}");
}
