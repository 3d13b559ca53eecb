//! All coordinators gone for a while in the middle of the work: nodes go on, deliver afterwards, and nothing is made twice.

use super::{Found, Wanted, add_found, checked, submit};
use crate::bench::Deadline;
use crate::bench::chaos::clients::Told;
use crate::bench::chaos::jobs::Jobs;
use crate::bench::chaos::keeper::{self, Keeper};
use crate::figure::Sheet;
use crate::player;
use crate::site::network::Member;
use crate::site::{self, COORDINATORS, Programs, Site};
use crate::tools::Tools;
use anyhow::{Context as _, Result, ensure};
use recode_testkit::nats::Server;
use recode_types::NodeStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Nodes, of one slot each.
const NODES: Member = 4;
/// How long a played encode takes.
const CHUNK: Duration = Duration::from_secs(8);
/// Jobs of a run: of six Segments each.
const JOBS: usize = 12;
/// Chunks that a node holds beyond its slot, so that it has work for longer than the coordinators are gone.
const AHEAD: u32 = 9;
/// How often it is looked which slots are busy.
const LOOK: Duration = Duration::from_millis(100);
/// After the coordinators are back.
const PATIENCE: Duration = Duration::from_secs(400);

/// Measures.
/// # Errors
/// The stage cannot be set, or jobs do not end.
pub fn run(tools: &Tools, wanted: &Wanted, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let home = folder.path().join("player");
    let ffmpeg = player::install(&home, &tools.ffmpeg, Duration::ZERO, Duration::ZERO)?;
    let jobs = Jobs::prepare(tools, &ffmpeg, folder.path())?;
    let programs = Programs::beside(tools, &ffmpeg)?;
    for (case, by_nats) in [("gone, by gRPC", false), ("gone, by NATS", true)] {
        let (mut found, mut busy, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..wanted.runs {
            if deadline.passed() {
                break;
            }
            let folder = folder.path().join(format!("{by_nats}-{run}"));
            fs::create_dir(&folder)?;
            let server = by_nats.then(Server::start).transpose()?;
            let url = server.as_ref().map(Server::url);
            player::set_pace(&home, CHUNK, CHUNK)?;
            let (one, slots, away) = one(&programs, &jobs, url, &home, wanted, &folder)?;
            found.push(one);
            busy.extend(slots);
            gone.push(away.as_secs_f64());
        }
        if found.is_empty() {
            continue;
        }
        add_found(sheet, case, &found);
        sheet.add(case, "seconds_gone", "s", &gone, "");
        sheet.add(
            case,
            "slot_busy",
            "ratio",
            &busy,
            "of the time without coordinators",
        );
    }
    Ok(())
}

fn one(
    programs: &Programs,
    jobs: &Jobs,
    nats: Option<String>,
    player: &Path,
    wanted: &Wanted,
    folder: &Path,
) -> Result<(Found, Vec<f64>, Duration)> {
    let outputs = folder.join("outputs");
    fs::create_dir(&outputs)?;
    let site_wanted = site::Wanted {
        programs: programs.clone(),
        nodes: NODES,
        workers: 1,
        cuttable: false,
        fillable: Vec::new(),
    };
    let nodes = site::Nodes {
        nats,
        ahead: Some(AHEAD),
    };
    let mut site = Site::start_with(site_wanted, nodes, folder)?;
    let keeper = Keeper::start(site.store(), folder.join("kept"))?;
    let mut told: Vec<Told> = Vec::new();
    for number in 0..JOBS {
        // All of one kind, of one output.
        let request = jobs.request(number * 3, &format!("job-{number}"), &outputs)?;
        told.push(submit(&site, request)?);
    }
    wait_until_full(&site)?;
    for coordinator in 1..=COORDINATORS {
        site.process(coordinator)
            .context("it was started")?
            .kill()?;
    }
    let (since, away) = (Instant::now(), Duration::from_secs(wanted.gone));
    let mut looks: BTreeMap<Member, (u32, u32)> = BTreeMap::new();
    while since.elapsed() < away {
        let encoding = encoding()?;
        for node in site.nodes() {
            let process = site.process(node).context("it was started")?;
            ensure!(process.ended()?.is_none(), "{}", process.last_words());
            let (busy, all) = looks.entry(node).or_default();
            *busy += u32::from(encoding.contains(&process.pid()));
            *all += 1;
        }
        std::thread::sleep(LOOK);
    }
    let gone = since.elapsed();
    for coordinator in 1..=COORDINATORS {
        site.run(coordinator)?;
    }
    // What is left has shown what it can. Its Chunks are still seen before they are swept with their Jobs.
    player::set_pace(player, 10 * keeper::LOOK, 10 * keeper::LOOK)?;
    ensure!(
        site.drained(PATIENCE),
        "jobs have not ended {} s after the coordinators came back",
        PATIENCE.as_secs()
    );
    site.stop()?;
    let found = checked(&site, &told, &keeper.stop())?;
    let busy = looks
        .values()
        .map(|(busy, all)| f64::from(*busy) / f64::from(*all));
    Ok((found, busy.collect(), gone))
}

/// Waits until every node holds as much as it takes: the middle of the work.
fn wait_until_full(site: &Site) -> Result<()> {
    let started = Instant::now();
    loop {
        let nodes: Vec<NodeStatus> = site.told(&["nodes", "--json"])?;
        let full = |node: &&NodeStatus| node.leases > AHEAD;
        if nodes.iter().filter(full).count() == usize::from(NODES) {
            return Ok(());
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "the nodes do not fill up: {nodes:?}"
        );
        std::thread::sleep(LOOK);
    }
}

/// The processes that have a picture encoder below them.
fn encoding() -> Result<BTreeSet<u32>> {
    let mut parents = BTreeMap::new();
    let mut encoders = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path
            .file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
        else {
            continue;
        };
        // It may be gone by now.
        let (Ok(stat), Ok(line)) = (
            fs::read_to_string(path.join("stat")),
            fs::read(path.join("cmdline")),
        ) else {
            continue;
        };
        // The program's name may hold anything, brackets too.
        let parent = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parents.insert(pid, parent.unwrap_or(0));
        if line.windows(7).any(|word| word == b"libx264") {
            encoders.push(pid);
        }
    }
    let mut above = BTreeSet::new();
    for mut pid in encoders {
        while pid != 0 && above.insert(pid) {
            pid = parents.get(&pid).copied().unwrap_or(0);
        }
    }
    Ok(above)
}
