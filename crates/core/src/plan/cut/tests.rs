use super::*;
use crate::fixture::table;
use proptest::prelude::*;
use recode_types::FrameRow;

fn seconds(segments: &[Segment]) -> Vec<f64> {
    segments
        .iter()
        .map(|s| (s.end_pts - s.start_pts) as f64 / 12800.0)
        .collect()
}

fn cut_all(table: &FrameTable, wish: &Wish) -> Vec<Segment> {
    let segments = cut(table, 0..table.rows.len(), wish, &CutPolicy::default());
    check(table, 0..table.rows.len(), &segments).unwrap();
    segments
}

fn check(table: &FrameTable, wanted: Range<usize>, segments: &[Segment]) -> Result<(), String> {
    let mut row = wanted.start as u32;
    for (i, s) in segments.iter().enumerate() {
        if s.index != i as u32 || s.first_row != row || s.rows == 0 {
            return Err(format!("segment {i} does not follow: {s:?}"));
        }
        row += s.rows;
        if s.start_pts != table.rows[s.first_row as usize].pts
            || s.end_pts != pts_at(table, row as usize)
        {
            return Err(format!("segment {i} has other times than its rows: {s:?}"));
        }
    }
    if row as usize != wanted.end {
        return Err(format!("{} rows are left", wanted.end as u32 - row));
    }
    Ok(())
}

fn asked(ms: u64) -> Wish {
    Wish {
        length: SegmentLength::Millis(ms),
        ..Wish::default()
    }
}

/// Idle time of `workers` at the end, in percent of all time, when every second of film takes as long as any other.
fn idle_percent(segments: &[Segment], workers: usize) -> f64 {
    let mut busy = vec![0u64; workers];
    for &i in &order(segments, SegmentLength::Usual) {
        let least = busy.iter_mut().min().expect("there are workers");
        *least += u64::from(segments[i as usize].rows);
    }
    let last = *busy.iter().max().expect("there are workers");
    let total: u64 = busy.iter().sum();
    100.0 * (1.0 - total as f64 / (last * workers as u64) as f64)
}

fn preroll(table: &FrameTable, segments: &[Segment]) -> usize {
    let film = Film::new(table, 0..table.rows.len(), &Wish::default());
    segments
        .iter()
        .map(|s| film.preroll(s.first_row as usize))
        .sum()
}

#[test]
fn asked_lengths_are_met_on_key_frames() {
    assert_eq!(
        seconds(&cut_all(&table(20, 50), &asked(4_000))),
        [4.0, 4.0, 4.0, 4.0, 4.0]
    );
    // Key frames every 3 s: the nearest to 4 s that does not add up to a runt.
    let cuts = cut_all(&table(30, 75), &asked(4_000));
    assert!(
        cuts.iter()
            .all(|s| table(30, 75).rows[s.first_row as usize].key)
    );
}

#[test]
fn a_film_with_one_key_frame_is_cut_inside_within_reason() {
    let one_key = table(20, 100_000);
    let cuts = cut_all(&one_key, &asked(2_000));
    assert!(cuts.len() >= 8, "{:?}", seconds(&cuts));
    assert!(preroll(&one_key, &cuts) <= 8 * one_key.rows.len());
    // An hour in one GOP would be decoded nine hundred times.
    let long = table(3600, 10_000_000);
    let cuts = cut_all(&long, &asked(2_000));
    assert!(preroll(&long, &cuts) <= 8 * long.rows.len());
    assert!(cuts.len() > 4, "{}", cuts.len());
    let usual = cut_all(&long, &Wish::default());
    assert!(preroll(&long, &usual) <= long.rows.len());
    assert!(usual.len() > 1);
}

#[test]
fn short_films_get_few_segments_and_long_ones_small_last_ones() {
    assert_eq!(cut_all(&table(2, 25), &Wish::default()).len(), 1);
    assert_eq!(cut_all(&table(5, 25), &Wish::default()).len(), 2);
    assert_eq!(cut_all(&table(20, 25), &Wish::default()).len(), 4);
    let minute = cut_all(&table(60, 25), &Wish::default());
    let lengths = seconds(&minute);
    assert!(lengths.len() <= 12, "{lengths:?}");
    assert!(*lengths.last().unwrap() <= 3.0, "{lengths:?}");
    let hour = cut_all(&table(3600, 250), &Wish::default());
    assert!((330..=380).contains(&hour.len()), "{}", hour.len());
}

#[test]
fn two_workers_finish_together_on_a_film_of_a_minute() {
    for gop in [25, 50, 95, 250, 10_000] {
        let lengths = [60, 66, 70, 75, 90, 120, 300];
        let idle: Vec<f64> = lengths
            .iter()
            .map(|&length| {
                let table = table(length, gop);
                let cuts = cut_all(&table, &Wish::default());
                idle_percent(&cuts, 2)
            })
            .collect();
        let mean = idle.iter().sum::<f64>() / idle.len() as f64;
        assert!(mean < 1.5, "GOP {gop}: mean {mean:.2} of {idle:.2?} % idle");
    }
}

#[test]
fn small_pieces_of_a_gop_lie_near_its_key_frame() {
    let table = table(60, 10_000);
    let cuts = cut_all(&table, &Wish::default());
    assert!(cuts.windows(2).all(|p| p[0].rows <= p[1].rows));
}

#[test]
fn with_a_fixed_gop_every_boundary_is_on_its_grid() {
    let wish = Wish {
        grid: Some(Grid::Rows(48)),
        ..Wish::default()
    };
    for asked in [None, Some(2_000), Some(7_000)] {
        let wish = Wish {
            length: asked.map_or(SegmentLength::Usual, SegmentLength::Millis),
            ..wish.clone()
        };
        let cuts = cut_all(&table(60, 33), &wish);
        assert!(cuts.len() > 4, "{}", cuts.len());
        assert!(cuts.iter().all(|s| s.first_row % 48 == 0), "{cuts:?}");
    }
    let linear = Wish {
        linear: Some(4),
        ..wish
    };
    let cuts = cut_all(&table(60, 33), &linear);
    assert_eq!(cuts.len(), 4);
    assert!(cuts.iter().all(|s| s.first_row % 48 == 0), "{cuts:?}");
}

#[test]
fn with_few_frames_a_minute_every_segment_has_one() {
    let table = table(60, 25);
    let facts = crate::fixture::facts(&table);
    let mut request = crate::fixture::small_request();
    request.segment = SegmentLength::Millis(2_000);
    request.outputs[0].rendition.fps = Some(Rational::new(1, 10));
    let wish = Wish::of(&request, &facts, &PlanPolicy::default());
    let lengths = seconds(&cut_all(&table, &wish));
    assert_eq!(lengths, [20.0, 20.0, 20.0]);
}

#[test]
fn a_grid_in_time_puts_the_first_output_frame_on_it() {
    // Two seconds of output at 24 frames a second from 25.
    let wish = Wish {
        grid: Some(Grid::Seconds(Rational::new(2, 1))),
        ..asked(2_000)
    };
    let cuts = cut_all(&table(20, 25), &wish);
    assert_eq!(seconds(&cuts), [2.0; 10]);
}

#[test]
fn a_source_that_must_be_decoded_from_its_start_gets_few_segments() {
    let wish = Wish {
        linear: Some(4),
        length: SegmentLength::Millis(2_000),
        ..Wish::default()
    };
    assert_eq!(cut_all(&table(60, 25), &wish).len(), 4);
    assert_eq!(cut_all(&table(4, 25), &wish).len(), 2);
}

#[test]
fn the_wanted_part_follows_the_sources_clock() {
    let mut table = table(10, 25);
    for row in &mut table.rows {
        row.pts += 12800;
    }
    let mut facts = crate::fixture::facts(&table);
    facts.start_us = 1_000_000;
    let mut request = crate::fixture::small_request();
    request.start_us = Some(2_000_000);
    request.duration_us = Some(1_500_000);
    assert_eq!(wanted_rows(&facts, &table, &request), Ok(50..88));
    request.start_us = Some(20_000_000);
    let error = wanted_rows(&facts, &table, &request).unwrap_err();
    assert!(error.to_string().contains("10.000 seconds"), "{error}");
}

#[test]
fn a_source_of_two_million_frames_is_cut_quickly() {
    let table = table(80_000, 120);
    let cuts = cut_all(&table, &Wish::default());
    assert!(cuts.len() > 5_000);
    let tiny = cut_all(&table, &asked(1_000));
    assert!(tiny.len() > 50_000);
    assert!(cut_all(&table, &spread()).len() > 20_000);
}

fn spread() -> Wish {
    Wish {
        length: SegmentLength::Spread,
        usual_gop_rows: Some(250),
        ..Wish::default()
    }
}

/// What part of a film, in percent, is in Segments nearest to each length of the policy.
fn shares(lengths: &[f64]) -> Vec<f64> {
    let kinds = CutPolicy::default().spread;
    let mut got = vec![0.0; kinds.len()];
    for length in lengths {
        let off = |kind: &Share| (length * 1000.0 / kind.ms as f64).ln().abs();
        let nearest = (0..kinds.len()).min_by(|a, b| off(&kinds[*a]).total_cmp(&off(&kinds[*b])));
        got[nearest.expect("there are kinds")] += length;
    }
    let all: f64 = got.iter().sum();
    got.iter().map(|part| part / all * 100.0).collect()
}

#[test]
fn a_spread_film_has_each_length_in_its_share_all_over_it() {
    let kinds = CutPolicy::default().spread;
    assert_eq!(kinds.iter().map(|kind| kind.percent).sum::<u64>(), 100);
    for gop in [25, 50, 95, 250] {
        let table = table(3600, gop);
        let cuts = cut_all(&table, &spread());
        let lengths = seconds(&cuts);
        let (shortest, longest) = (kinds[kinds.len() - 1].ms, kinds[0].ms);
        assert!(lengths.iter().all(|s| *s <= longest as f64 / 1000.0 * 1.26));
        assert!(lengths.iter().all(|s| *s >= shortest as f64 / 1000.0 * 0.4));
        for tenth in 0..10u32 {
            let here = |s: &&Segment| s.first_row / 9_000 == tenth;
            let part: Vec<Segment> = cuts.iter().filter(here).copied().collect();
            for (got, kind) in shares(&seconds(&part)).iter().zip(&kinds) {
                let off = (got - kind.percent as f64).abs();
                assert!(off < 6.0, "GOP {gop}, {tenth}: {got:.1} for {kind:?}");
            }
        }
        assert!(
            preroll(&table, &cuts) * 10 < table.rows.len() * 6,
            "GOP {gop}"
        );
    }
}

#[test]
fn a_spread_film_is_cut_at_key_frames_where_it_can_be() {
    // Key frames where scenes begin, at all distances.
    let mut table = table(3600, 250);
    let mut next = 0;
    for (row, it) in table.rows.iter_mut().enumerate() {
        it.key = row == next;
        if it.key {
            next += 20 + (row * 7919) % 230;
        }
    }
    let cuts = cut_all(&table, &spread());
    let at_keys = cuts.iter().filter(|s| table.rows[s.first_row as usize].key);
    let percent = at_keys.count() * 100 / cuts.len();
    assert!(percent >= 40, "{percent} % of {} cuts", cuts.len());
}

#[test]
fn short_films_are_spread_in_proportion_and_very_short_ones_not_at_all() {
    let longest = |length: u32| {
        let lengths = seconds(&cut_all(&table(length, 25), &spread()));
        assert!(lengths.iter().all(|s| *s >= 0.3), "{lengths:?}");
        (lengths.len(), lengths.iter().copied().fold(0.0, f64::max))
    };
    assert_eq!(longest(2), (1, 2.0));
    let (pieces, ten) = longest(10);
    assert!(pieces >= 5 && ten <= 2.0, "{pieces} {ten}");
    let (pieces, minute) = longest(60);
    assert!(pieces >= 15 && minute <= 5.0, "{pieces} {minute}");
    // What needs more decoding than another time the film stays in few pieces, whatever is asked.
    let one_key = table(3600, 10_000_000);
    let cuts = cut_all(&one_key, &spread());
    assert!(preroll(&one_key, &cuts) <= one_key.rows.len());
}

#[test]
fn spread_segments_are_handed_out_longest_first() {
    let cuts = cut_all(&table(600, 50), &spread());
    let all = order(&cuts, SegmentLength::Spread);
    let rows = |at: &u32| cuts[*at as usize].rows;
    assert!(all.is_sorted_by_key(|at| (std::cmp::Reverse(rows(at)), *at)));
    // And no others: a film in order is what its first Segments are wanted for.
    let usual = order(&cuts, SegmentLength::Usual);
    assert_ne!(all, usual);
}

proptest! {
    #[test]
    fn segments_partition_the_wanted_rows(
        steps in prop::collection::vec((1i64..5_000, prop::bool::weighted(0.1)), 1..400),
        from in 0.0f64..1.0,
        part in 0.0f64..=1.0,
        length in prop_oneof![
            Just(SegmentLength::Usual),
            (1u64..5_000).prop_map(SegmentLength::Millis),
            Just(SegmentLength::Spread),
        ],
        grid in prop::option::of(1u32..60),
        linear in prop::option::of(1u32..6),
        least_ms in prop::option::of(1u64..20_000).prop_map(Option::unwrap_or_default),
    ) {
        let mut pts = -7_000;
        let rows: Vec<FrameRow> = steps.iter().map(|&(step, key)| {
            pts += step;
            FrameRow { pts, key, signature: None }
        }).collect();
        let count = rows.len();
        let table = FrameTable { time_base: Rational::new(1, 12800), rows, last_duration: 512 };
        let first = ((count - 1) as f64 * from) as usize;
        let end = first + 1 + ((count - first - 1) as f64 * part) as usize;
        let wish = Wish {
            length,
            grid: grid.map(Grid::Rows),
            usual_gop_rows: Some(250),
            linear,
            keys_only: false,
            least_ms,
        };
        let segments = cut(&table, first..end, &wish, &CutPolicy::default());
        prop_assert_eq!(check(&table, first..end, &segments), Ok(()));
        if let Some(grid) = grid {
            prop_assert!(segments.iter().all(|s| (s.first_row as usize - first).is_multiple_of(grid as usize)));
        }
        let short = |s: &Segment| (s.end_pts - s.start_pts) * 1000 < least_ms as i64 * 12800;
        prop_assert!(segments.len() == 1 || !segments.iter().any(short), "{:?}", seconds(&segments));
        let mut all = order(&segments, length);
        all.sort_unstable();
        prop_assert_eq!(all, (0..segments.len() as u32).collect::<Vec<_>>());
    }
}

#[test]
fn where_only_key_frames_are_known_every_cut_is_at_one() {
    // 60 s with a key frame every 5 s: longer than asked, and no cut lies between.
    let table = table(60, 125);
    let wish = Wish {
        keys_only: true,
        ..asked(2000)
    };
    let segments = cut_all(&table, &wish);
    assert_eq!(segments.len(), 12);
    assert!(
        segments
            .iter()
            .all(|s| table.rows[s.first_row as usize].key)
    );
    // On a grid of 50 rows every second key frame is one of its rows.
    let on_grid = Wish {
        grid: Some(Grid::Rows(50)),
        ..wish
    };
    let segments = cut_all(&table, &on_grid);
    assert!(segments.len() > 1 && segments.iter().all(|s| s.first_row % 250 == 0));
}

#[test]
fn a_wanted_part_of_estimated_rows_keeps_the_times_asked_for() {
    let table = table(60, 125);
    let mut facts = crate::fixture::facts(&table);
    facts.rows_estimated = true;
    let mut request = crate::fixture::small_request();
    let span = |request: &JobRequest| {
        let rows = wanted_rows(&facts, &table, request).unwrap();
        wanted_span(&facts, &table, request, &rows)
    };
    let all = span(&request);
    assert_eq!(all, (table.rows[0].pts, table.end_pts()));
    request.start_us = Some(7_010_000);
    request.duration_us = Some(10_000_000);
    let ticks = |us| MICRO.rescale(facts.start_us + us, table.time_base);
    assert_eq!(span(&request), (ticks(7_010_000), ticks(17_010_000)));
}
