//! `recode-bench`: every measurement behind one command.

use anyhow::Result;
use clap::{Parser, Subcommand};
use recode_bench::bench::{
    Deadline, chaos, control_plane, crash, hostile, leaving, links, many_chunks, mesh, mixed,
    overhead, peers, predict, quality, rate, s3_bytes, s3_faults, same_bytes, sandbox_cost,
    score_cost, score_exact, unequal, versus,
};
use recode_bench::figure::Sheet;
use recode_bench::settings::{self, Settings};
use recode_bench::tools::{self, Tools};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures recode against plain FFmpeg
#[derive(Parser)]
#[command(
    version,
    after_help = "Clips are files, or names inside the folder RECODE_MEDIA. FFmpeg: RECODE_FFMPEG, .tools/bin/ffmpeg, \
PATH. Client: RECODE_CLIENT, or recode-client beside this program. Judge, where one is used: RECODE_JUDGE."
)]
struct Cli {
    /// What to measure.
    #[command(subcommand)]
    bench: Bench,
    /// Print one JSON line per figure instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Clip to measure with; may be given several times [default: the three benchmark clips]
    #[arg(long = "clip", value_name = "FILE", global = true)]
    clips: Vec<String>,
    /// Begin no new run after this long
    #[arg(long, value_name = "MINUTES", global = true)]
    minutes: Option<f64>,
}

/// The measurements.
#[derive(Subcommand)]
enum Bench {
    /// Wall time, CPU, size and VMAF against one plain FFmpeg process with the same settings
    VersusFfmpeg {
        /// Encoder settings; may be given several times [default: all]
        #[arg(long, value_name = "NAME")]
        settings: Vec<String>,
        /// Interleaved pairs
        #[arg(long, default_value_t = 7)]
        pairs: usize,
        /// Repeat each clip until it is this long
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// Workers of recode
        #[arg(long, default_value_t = 2)]
        workers: u32,
        /// Leave out size, VMAF and judge
        #[arg(long)]
        no_quality: bool,
    },
    /// What recode adds to a 5 s clip
    Overhead {
        /// Interleaved pairs
        #[arg(long, default_value_t = 20)]
        pairs: usize,
    },
    /// What a node measures of itself against what Chunks then take
    Predict {
        /// Use this much of each clip
        #[arg(long, default_value_t = 24.0)]
        seconds: f64,
    },
    /// Merged scores against one whole-file run, frame by frame
    ScoreExact,
    /// CPU of an encode with scores against encode and scoring apart
    ScoreCost {
        /// Repetitions
        #[arg(long, default_value_t = 3)]
        pairs: usize,
    },
    /// BD-rate by VMAF against the whole-file encode, by encoder and Segment length
    Quality {
        /// Encoder settings; may be given several times [default: x264, x265, SVT-AV1]
        #[arg(long, value_name = "NAME")]
        settings: Vec<String>,
        /// Segment length, or `spread`; may be given several times [default: recode's own choice]
        #[arg(long, value_name = "LENGTH")]
        segment: Vec<String>,
        /// Fixed distance of key frames on both sides
        #[arg(long, value_name = "SECONDS")]
        gop: Option<f64>,
        /// Use this much of each clip
        #[arg(long, default_value_t = 24.0)]
        seconds: f64,
    },
    /// Error of --bitrate and --size, and the peak limit over the whole output
    Rate {
        /// Codecs; may be given several times
        #[arg(long, default_values_t = ["h264".to_owned(), "h265".to_owned()])]
        codec: Vec<String>,
    },
    /// kill -9 at random moments, run again, compare
    Crash {
        /// Runs killed once
        #[arg(long, default_value_t = 20)]
        runs: usize,
        /// Kills of one further run
        #[arg(long, default_value_t = 20)]
        kills: usize,
        /// Seed of the moments
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Three coordinators and three nodes under kill -9, SIGSTOP, cut links and full disks; needs root
    Chaos {
        /// Runs that count
        #[arg(long, default_value_t = 200)]
        runs: u64,
        /// Runs at the same time
        #[arg(long, default_value_t = 2)]
        at_once: u32,
        /// Seed of the first run; each has the next
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Encode with FFmpeg itself, rather than play back what it did
        #[arg(long)]
        real: bool,
    },
    /// Outputs of clusters whose processes are killed against that of an undisturbed process, byte by byte
    SameBytes {
        /// Runs with each number of nodes
        #[arg(long, default_value_t = 17)]
        runs: usize,
        /// Number of nodes; may be given several times
        #[arg(long, default_values_t = [1, 2, 4])]
        nodes: Vec<u8>,
        /// Use this much of the clip
        #[arg(long, default_value_t = 12.0)]
        seconds: f64,
        /// Seed of who dies when
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// A cluster of two builds, either one leading, and its upgrade under a job
    MixedVersions {
        /// `recode-coordinator` of the earlier build: built with --features earlier
        #[arg(long, value_name = "FILE")]
        earlier: PathBuf,
        /// Clusters of each kind
        #[arg(long, default_value_t = 1)]
        runs: usize,
    },
    /// Descriptors and memory of a job of thousands of chunks
    ManyChunks {
        /// Chunks
        #[arg(long, default_value_t = 5000)]
        chunks: u32,
        /// Workers
        #[arg(long, default_value_t = 2)]
        workers: u32,
    },
    /// Bytes an S3 server sends for a source with sound, and peak scratch
    S3Bytes {
        /// Segments
        #[arg(long, default_value_t = 30)]
        segments: u32,
    },
    /// What becomes of the work of nodes that are told to go
    Leaving(leaving::Wanted),
    /// Broken links: NATS killed and flooded, coordinators gone; and what nodes and coordinators promise each other
    Links(links::Wanted),
    /// Jobs on a cluster over an S3 server that misbehaves
    S3Faults {
        /// Jobs
        #[arg(long, default_value_t = 100)]
        jobs: usize,
        /// Jobs at the same time
        #[arg(long, default_value_t = 10)]
        at_once: usize,
        /// Seed of the faults
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// How often a source leaves S3 for two sites of nodes that serve each other, and without that
    Peers {
        /// Size of the source
        #[arg(long, default_value_t = 2000, value_name = "N", value_parser = clap::value_parser!(u64).range(50..))]
        megabytes: u64,
    },
    /// A job's time and cost on nodes that are slow or die, against what their speeds allow
    Mesh(mesh::Wanted),
    /// Hostile files and option strings against sandbox and validator, one at a time, with canaries; needs root
    Hostile,
    /// What the sandbox adds to a start of FFmpeg and to an encode
    SandboxCost {
        /// Interleaved pairs of starts
        #[arg(long, default_value_t = 60)]
        starts: usize,
        /// Interleaved pairs of encodes
        #[arg(long, default_value_t = 9)]
        encodes: usize,
        /// Encode this much of the clip
        #[arg(long, default_value_t = 12.0)]
        seconds: f64,
    },
    /// What three coordinators bear: rate, latency, failover, memory, restart
    ControlPlane(control_plane::Wanted),
}

fn main() -> ExitCode {
    match measure(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recode-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: Cli) -> Result<()> {
    if let Bench::Mesh(asked) = &cli.bench
        && asked.simulate
    {
        // Runs no program, so that it needs none.
        return mesh::run(asked, &mut Sheet::new("mesh", cli.json));
    }
    let tools = Tools::find()?;
    let clips = || clips(&cli.clips);
    let deadline = Deadline::after(cli.minutes);
    let sheet = |name| Sheet::new(name, cli.json);
    match cli.bench {
        Bench::VersusFfmpeg {
            settings,
            pairs,
            seconds,
            workers,
            no_quality,
        } => {
            let wanted = versus::Wanted {
                clips: clips()?,
                settings: named(&settings, &settings::ALL)?,
                pairs,
                seconds,
                workers,
                quality: !no_quality,
                deadline,
            };
            versus::run(&tools, &wanted, &mut sheet("versus-ffmpeg"))
        }
        Bench::Overhead { pairs } => {
            overhead::run(&tools, &clips()?[0], pairs, &mut sheet("overhead"))
        }
        Bench::Predict { seconds } => {
            predict::run(&tools, &clips()?, seconds, deadline, &mut sheet("predict"))
        }
        Bench::ScoreExact => score_exact::run(&tools, &clips()?, &mut sheet("score-exact")),
        Bench::ScoreCost { pairs } => {
            let mut sheet = sheet("score-cost");
            for clip in &clips()? {
                if !deadline.passed() {
                    score_cost::run(&tools, clip, pairs, &mut sheet)?;
                }
            }
            Ok(())
        }
        Bench::Quality {
            settings,
            segment,
            gop,
            seconds,
        } => {
            let wanted = quality::Wanted {
                clips: clips()?,
                settings: named(&settings, &settings::ALL[..3])?,
                segments: if segment.is_empty() {
                    vec![String::new()]
                } else {
                    segment
                },
                gop_seconds: gop,
                seconds,
                deadline,
            };
            quality::run(&tools, &wanted, &mut sheet("quality"))
        }
        Bench::Rate { codec } => rate::run(&tools, &clips()?, &codec, deadline, &mut sheet("rate")),
        Bench::Crash { runs, kills, seed } => {
            let wanted = crash::Wanted {
                clip: clips()?[0].clone(),
                runs,
                kills,
                seed,
                deadline,
            };
            crash::run(&tools, &wanted, &mut sheet("crash"))
        }
        Bench::Chaos {
            runs,
            at_once,
            seed,
            real,
        } => {
            let wanted = chaos::Wanted {
                runs,
                at_once,
                seed,
                real,
                deadline,
            };
            chaos::run(&tools, &wanted, &mut sheet("chaos"))
        }
        Bench::SameBytes {
            runs,
            nodes,
            seconds,
            seed,
        } => {
            let wanted = same_bytes::Wanted {
                clip: clips()?[0].clone(),
                seconds,
                runs,
                nodes,
                seed,
                deadline,
            };
            same_bytes::run(&tools, &wanted, &mut sheet("same-bytes"))
        }
        Bench::MixedVersions { earlier, runs } => {
            let wanted = mixed::Wanted {
                clip: clips()?[0].clone(),
                earlier: earlier.canonicalize()?,
                runs,
                deadline,
            };
            mixed::run(&tools, &wanted, &mut sheet("mixed-versions"))
        }
        Bench::ManyChunks { chunks, workers } => {
            many_chunks::run(&tools, chunks, workers, &mut sheet("many-chunks"))
        }
        Bench::S3Bytes { segments } => {
            s3_bytes::run(&tools, &clips()?[0], segments, &mut sheet("s3-bytes"))
        }
        Bench::Leaving(wanted) => {
            let clip = match cli.clips.is_empty() {
                true => tools::media("samples/sintel_trailer_720p24.mp4")?,
                false => clips()?[0].clone(),
            };
            leaving::run(&tools, &clip, wanted, deadline, &mut sheet("leaving"))
        }
        Bench::Links(wanted) => links::run(&tools, &wanted, deadline, &mut sheet("links")),
        Bench::S3Faults {
            jobs,
            at_once,
            seed,
        } => {
            let wanted = s3_faults::Wanted {
                clip: clips()?[0].clone(),
                jobs,
                at_once: at_once.max(1),
                seed,
                deadline,
            };
            s3_faults::run(&tools, &wanted, &mut sheet("s3-faults"))
        }
        Bench::Peers { megabytes } => {
            let wanted = peers::Wanted {
                clip: clips()?[0].clone(),
                megabytes,
                deadline,
            };
            peers::run(&tools, &wanted, &mut sheet("peers"))
        }
        Bench::Mesh(asked) => {
            let clip = clips()?[0].clone();
            unequal::run(&tools, clip, &asked.real, deadline, &mut sheet("mesh"))
        }
        Bench::Hostile => hostile::run(&tools, &mut sheet("hostile")),
        Bench::SandboxCost {
            starts,
            encodes,
            seconds,
        } => {
            let mut sheet = sheet("sandbox-cost");
            sandbox_cost::run(&tools, &clips()?[0], starts, encodes, seconds, &mut sheet)
        }
        Bench::ControlPlane(wanted) => {
            control_plane::run(&wanted, deadline, &mut sheet("control-plane"))
        }
    }
}

/// The clips asked for, or the three benchmark clips. Never empty.
fn clips(asked: &[String]) -> Result<Vec<PathBuf>> {
    if asked.is_empty() {
        tools::CLIPS.iter().map(|name| tools::media(name)).collect()
    } else {
        asked.iter().map(|name| tools::media(name)).collect()
    }
}

fn named(asked: &[String], usual: &[Settings]) -> Result<Vec<Settings>> {
    if asked.is_empty() {
        return Ok(usual.to_vec());
    }
    asked.iter().map(|name| settings::by_name(name)).collect()
}
