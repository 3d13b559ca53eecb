use super::super::disk::Real;
use super::*;
use std::fs;
use std::sync::mpsc::{channel, sync_channel};

fn open(dir: &Path, first: impl FnOnce() -> Vec<Vec<u8>>) -> Result<(Wal, Vec<Segment>), Error> {
    Wal::open(&Real::shared(), dir, 64 << 10, first)
}

fn folder() -> PathBuf {
    let dir = std::env::temp_dir().join(format!(
        "recode-wal-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn first() -> Vec<Vec<u8>> {
    vec![b"head".to_vec()]
}

fn durable(wal: &Wal, records: &[&str]) -> io::Result<()> {
    let (tx, rx) = sync_channel(1);
    let records = records.iter().map(|r| r.as_bytes().to_vec()).collect();
    wal.append(records, Box::new(move |done| tx.send(done).unwrap()));
    rx.recv().unwrap()
}

/// Everything but marks.
fn texts(segments: &[Segment]) -> Vec<String> {
    let records = segments.iter().flat_map(|s| &s.records);
    records
        .filter(|r| !r.is_empty())
        .map(|r| String::from_utf8(r.clone()).unwrap())
        .collect()
}

#[test]
fn what_was_acknowledged_is_there_after_reopening() {
    let dir = folder();
    let (wal, segments) = open(&dir, first).unwrap();
    assert_eq!(texts(&segments), ["head"]);
    durable(&wal, &["a", "b"]).unwrap();
    wal.append_lazily(b"lazy".to_vec());
    durable(&wal, &["c"]).unwrap();
    drop(wal);
    for _ in 0..3 {
        let (_, segments) = open(&dir, || panic!("it is not empty")).unwrap();
        assert_eq!(texts(&segments), ["head", "a", "b", "lazy", "c"]);
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_folder_has_one_writer_until_it_has_closed() {
    let dir = folder();
    let (wal, _) = open(&dir, first).unwrap();
    assert!(matches!(open(&dir, first), Err(Error::InUse(_))));
    wal.append_lazily(b"lazy".to_vec());
    wal.close();
    assert!(durable(&wal, &["late"]).is_err());
    let (_second, segments) = open(&dir, first).unwrap();
    assert_eq!(texts(&segments), ["head", "lazy"]);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn files_rotate_and_the_oldest_go() {
    let dir = folder();
    let (wal, _) = open(&dir, first).unwrap();
    for i in 0..4 {
        durable(&wal, &[&format!("r{i}")]).unwrap();
        wal.rotate(format!("head{i}").into_bytes());
    }
    wal.remove_oldest(2);
    durable(&wal, &["last"]).unwrap();
    drop(wal);
    let (wal, segments) = open(&dir, first).unwrap();
    assert_eq!(segments.len(), 3);
    assert_eq!(
        texts(&segments),
        ["head1", "r2", "head2", "r3", "head3", "last"]
    );
    // The newest is never removed, whatever is asked.
    wal.remove_oldest(99);
    durable(&wal, &["x"]).unwrap();
    drop(wal);
    let (_, segments) = open(&dir, first).unwrap();
    assert_eq!(texts(&segments), ["head3", "last", "x"]);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_missing_file_in_the_middle_is_damage() {
    let dir = folder();
    let (wal, _) = open(&dir, first).unwrap();
    for i in 0..3 {
        durable(&wal, &[&format!("r{i}")]).unwrap();
        wal.rotate(b"head".to_vec());
    }
    drop(wal);
    fs::remove_file(&segment_paths(&Real, &dir).unwrap()[1]).unwrap();
    assert!(matches!(open(&dir, first), Err(Error::Damaged { .. })));
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_new_file_without_a_sound_head_is_as_if_it_never_was() {
    let dir = folder();
    let (wal, _) = open(&dir, first).unwrap();
    durable(&wal, &["a"]).unwrap();
    drop(wal);
    fs::write(
        segment_path(&dir, 99),
        [b"RWAL".as_slice(), &[0; 20]].concat(),
    )
    .unwrap();
    let (wal, segments) = open(&dir, first).unwrap();
    assert_eq!(texts(&segments), ["head", "a"]);
    durable(&wal, &["b"]).unwrap();
    drop(wal);
    let (_, segments) = open(&dir, first).unwrap();
    assert_eq!(texts(&segments), ["head", "a", "b"]);
    fs::remove_dir_all(dir).unwrap();
}

/// RELIABILITY G12: each flip is either refused or changes nothing.
#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let dir = folder();
    let (wal, _) = open(&dir, first).unwrap();
    for i in 0..20 {
        durable(&wal, &[&format!("record {i}"), "and another"]).unwrap();
    }
    drop(wal);
    let path = segment_paths(&Real, &dir).unwrap().remove(0);
    let good = fs::read(&path).unwrap();
    let whole = texts(&open(&dir, first).unwrap().1);
    let (mut refused, mut same) = (0, 0);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match scan::scan(&bad, None, true) {
            Err(_) => refused += 1,
            Ok(found) => {
                let records = found.bodies.into_iter().map(|r| bad[r].to_vec()).collect();
                assert_eq!(texts(&[Segment { records }]), whole, "bit {bit}");
                same += 1;
            }
        }
    }
    // Only the very last mark may go unnoticed: it carries nothing.
    assert_eq!(same, record::HEADER * 8, "{refused} refused");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_torn_tail_is_dropped_and_writing_goes_on_behind_the_sound_part() {
    let dir = folder();
    let (wal, _) = open(&dir, first).unwrap();
    durable(&wal, &["a"]).unwrap();
    durable(&wal, &["b"]).unwrap();
    drop(wal);
    let path = segment_paths(&Real, &dir).unwrap().remove(0);
    let good = fs::read(&path).unwrap();
    for cut in (good.len() - 120)..good.len() {
        fs::write(&path, &good[..cut]).unwrap();
        let (wal, segments) = open(&dir, first).unwrap();
        let mut expected = texts(&segments);
        assert!(
            ["head", "a", "b"]
                .starts_with(&expected.iter().map(String::as_str).collect::<Vec<_>>())
        );
        durable(&wal, &["new"]).unwrap();
        drop(wal);
        expected.push("new".into());
        assert_eq!(
            texts(&open(&dir, first).unwrap().1),
            expected,
            "cut at {cut}"
        );
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn after_a_failed_write_nothing_is_acknowledged_any_more() {
    let dir = folder();
    let path = segment_path(&dir, 1);
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let next = Position {
        sequence: 1,
        link: 0,
    };
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let writer = writer::Writer::on(&dir, path, full, next);
    let (jobs, inbox) = mpsc::unbounded_channel();
    let thread = std::thread::spawn(move || writer.run(inbox));
    let lock = Real.lock(&dir).unwrap().unwrap();
    let wal = Wal::with(jobs, Some(thread), lock);
    assert!(durable(&wal, &["a"]).is_err());
    assert!(
        durable(&wal, &["b"]).is_err(),
        "a failed flush must not be forgotten"
    );
    drop(wal);
    fs::remove_dir_all(dir).unwrap();
}

/// `cargo test -p recode-coordinator --release -- --ignored --nocapture commits_per_second`
#[test]
#[ignore = "a measurement"]
fn commits_per_second() {
    let dir = folder();
    let start = std::time::Instant::now();
    let (wal, _) = open(&dir, first).unwrap();
    println!("fresh log: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    for i in 0..500 {
        durable(&wal, &[&format!("entry {i} {}", "x".repeat(i % 300))]).unwrap();
        wal.append_lazily(b"committed".to_vec());
    }
    println!(
        "{:.0} commits/s one by one",
        500.0 / start.elapsed().as_secs_f64()
    );
    let start = std::time::Instant::now();
    let (tx, rx) = channel();
    for _ in 0..5000 {
        let tx = tx.clone();
        wal.append(
            vec![vec![b'x'; 200]],
            Box::new(move |done| tx.send(done).unwrap()),
        );
    }
    drop(tx);
    assert_eq!(rx.iter().filter(Result::is_ok).count(), 5000);
    println!(
        "{:.0} commits/s when 5000 wait",
        5000.0 / start.elapsed().as_secs_f64()
    );
    drop(wal);
    let start = std::time::Instant::now();
    drop(open(&dir, first).unwrap());
    println!("reopened in {:?}", start.elapsed());
    fs::remove_dir_all(dir).unwrap();
}

/// Until the file is there and no longer written.
fn made_ahead(dir: &Path) {
    let began = std::time::Instant::now();
    let whole = || fs::metadata(dir.join("ahead")).is_ok_and(|found| found.len() == 72 << 10);
    while !whole() {
        assert!(began.elapsed().as_secs() < 20, "nothing is made ahead");
        std::thread::yield_now();
    }
}

#[test]
fn a_file_made_ahead_becomes_the_next_one_and_its_zeros_are_no_torn_tail() {
    let dir = folder();
    let (wal, _) = open(&dir, first).unwrap();
    let large = "x".repeat(40 << 10);
    let size = |name: &str| fs::metadata(dir.join(name)).map(|found| found.len());
    let newest = || {
        let mut paths = segment_paths(&Real, &dir).unwrap();
        let path = paths.pop().unwrap();
        path.file_name().unwrap().to_str().unwrap().to_owned()
    };
    durable(&wal, &["small"]).unwrap();
    wal.rotate(b"head1".to_vec());
    durable(&wal, &["a"]).unwrap();
    // Short files do without.
    assert!(size("ahead").is_err());
    assert!(size(&newest()).unwrap() < 1 << 10);
    durable(&wal, &[&large]).unwrap();
    made_ahead(&dir);
    // It may still be about to end.
    while size("ahead").is_ok() {
        wal.rotate(b"head2".to_vec());
        durable(&wal, &["b"]).unwrap();
    }
    let prepared = newest();
    assert_eq!(size(&prepared).unwrap(), 72 << 10);
    drop(wal);
    assert!(size("ahead").is_err(), "left behind");
    // Of a process that was killed.
    fs::write(dir.join("ahead"), b"half").unwrap();
    for last in ["b", "more"] {
        let (wal, segments) = open(&dir, || panic!("it is not empty")).unwrap();
        assert!(size("ahead").is_err());
        assert_eq!(texts(&segments).pop().unwrap(), last);
        // Nothing was cut off, and writing goes on in it.
        assert_eq!(newest(), prepared);
        assert_eq!(size(&prepared).unwrap(), 72 << 10);
        durable(&wal, &["more"]).unwrap();
        drop(wal);
    }
    fs::remove_dir_all(dir).unwrap();
}
