//! `recode-sim`: runs simulations from seeds.

use recode_sim::campaign;
use recode_sim::report::{Kind, Report};
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
recode-sim core|cluster --seeds A..B [--threads N] [--minutes M] [--json]
    Runs of the core alone, or of whole coordinators; none is begun after M minutes. Exit code 1: an invariant is broken;
    its seed and what happened last are printed.
recode-sim core|cluster --seed N
    One run, with what happened last.
recode-sim planted [--seconds N] [--only NAME|core|cluster] [--except NAME,NAME] [--threads N] [--minutes M] [--json]
    Looks for every planted bug, at most N CPU seconds each; no search is begun after M minutes. One line for each as its
    search ends (needs --features planted).";

/// Everything that may be said after the first word; all but the last take a value.
const FLAGS: [&str; 8] = [
    "--seeds",
    "--seed",
    "--seconds",
    "--only",
    "--except",
    "--threads",
    "--minutes",
    "--json",
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--help" || a == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match known(&args).and_then(|()| run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(what) => {
            eprintln!("{what}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// A flag that is misspelt must not count as left out.
fn known(args: &[String]) -> Result<(), String> {
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        match FLAGS.iter().find(|flag| *flag == arg) {
            None => return Err(format!("there is no {arg:?} here")),
            Some(&"--json") => {}
            Some(_) => {
                rest.next();
            }
        }
    }
    Ok(())
}

fn value<'a>(args: &'a [String], name: &str) -> Result<Option<&'a str>, String> {
    match args.iter().position(|a| a == name) {
        None => Ok(None),
        Some(at) => match args.get(at + 1) {
            Some(value) => Ok(Some(value)),
            None => Err(format!("{name} needs a value")),
        },
    }
}

fn number(args: &[String], name: &str, usual: u64) -> Result<u64, String> {
    value(args, name)?.map_or(Ok(usual), |text| {
        text.parse().map_err(|_| format!("{name} needs a number"))
    })
}

fn minutes(args: &[String]) -> Result<Option<Duration>, String> {
    let Some(text) = value(args, "--minutes")? else {
        return Ok(None);
    };
    let minutes: f64 = text.parse().map_err(|_| "--minutes needs a number")?;
    Ok(Some(Duration::from_secs_f64(minutes.max(0.0) * 60.0)))
}

fn seeds(text: &str) -> Option<Range<u64>> {
    let (from, to) = text.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

fn run(args: &[String]) -> Result<bool, String> {
    let json = args.iter().any(|a| a == "--json");
    match args.first().map(String::as_str) {
        Some(name @ ("core" | "cluster")) => {
            let kind = if name == "core" {
                Kind::Core
            } else {
                Kind::Cluster
            };
            if !kind.is_repeatable() {
                eprintln!(
                    "built without --cfg tokio_unstable: a seed may give another run the next time; use `make chaos`"
                );
            }
            let tell = |report: &Report| tell(kind, report);
            let seeds = match value(args, "--seed")? {
                Some(seed) => {
                    let seed = seed.parse().map_err(|_| "--seed needs a number")?;
                    let library = std::sync::Arc::new(recode_sim::film::Library::new());
                    let report = kind.run(seed, &library, true);
                    tell(&report);
                    println!("{:?} digest {:016x}", report.fired, report.digest);
                    return Ok(report.broken.is_none());
                }
                None => value(args, "--seeds")?.unwrap_or("0..1000"),
            };
            let seeds = self::seeds(seeds).ok_or("--seeds needs A..B")?;
            let threads = number(args, "--threads", 2)? as usize;
            let within = minutes(args)?;
            let totals = campaign::run(kind, seeds, threads, within, &tell);
            if json {
                println!("{}", totals.json());
            } else {
                print!("{}", totals.text());
                for (seed, what) in &totals.broken {
                    println!("seed {seed}: {what}");
                }
            }
            Ok(totals.is_good())
        }
        Some("planted") => planted(args, json),
        _ => Err("say what to run".to_owned()),
    }
}

fn tell(kind: Kind, report: &Report) {
    let lines: String = report.last.iter().map(|l| format!("  {l}\n")).collect();
    let what = report.broken.as_deref().unwrap_or("nothing is broken");
    eprintln!(
        "{lines}seed {}: {what}\n  again: recode-sim {} --seed {}",
        report.seed,
        kind.name(),
        report.seed
    );
}

#[cfg(feature = "planted")]
fn planted(args: &[String], json: bool) -> Result<bool, String> {
    use recode_sim::planted::{Bug, Found, Search, find_all};
    let search = Search {
        budget: Duration::from_secs(number(args, "--seconds", 180)?),
        only: value(args, "--only")?.map(str::to_owned),
        except: value(args, "--except")?
            .map(|names| names.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        threads: number(args, "--threads", 2)? as usize,
        within: minutes(args)?,
    };
    let planted = Bug::all().len();
    let tell = |one: &Found| match json {
        true => println!("{}", one.json(planted)),
        false => println!("{}", one.text()),
    };
    let all = find_all(&search, &tell);
    let found: Vec<&Found> = all.iter().filter(|one| one.by.is_some()).collect();
    if !json {
        let slowest = found.iter().map(|one| one.cpu).max().unwrap_or_default();
        println!(
            "{} of {} found, of {planted} planted bugs; the slowest in {:.1} CPU seconds",
            found.len(),
            all.len(),
            slowest.as_secs_f64()
        );
    }
    Ok(found.len() == all.len() && !all.is_empty())
}

#[cfg(not(feature = "planted"))]
fn planted(_: &[String], _: bool) -> Result<bool, String> {
    Err("this build has no planted bugs: build with --features planted".to_owned())
}
