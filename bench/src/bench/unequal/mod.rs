//! `mesh --straggler`, `mesh --losses`: what slow nodes and lost nodes cost, with real processes and real encodes.
//!
//! Every node has one slot and an FFmpeg of its own that gets a share of a core and no more ([`crate::throttle`]), so that
//! many nodes fit into a small machine and processor time is what the kernel counted, encodes that came to nothing included.

mod losses;
mod straggler;

use crate::bench::Deadline;
use crate::figure::Sheet;
use crate::site::network::Member;
use crate::site::{self, Joined, Programs, Site};
use crate::throttle::Throttled;
use crate::tools::Tools;
use anyhow::{Result, bail, ensure};
use recode_types::report::JobReport;
use recode_types::{JobId, JobState, JobStatus};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is asked for.
#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Asked {
    /// Eight nodes, one of which encodes at a tenth of the others' speed; needs root
    #[arg(long, group = "what")]
    pub straggler: bool,
    /// Four nodes, one of which dies within every ten seconds while another joins; needs root
    #[arg(long, group = "what")]
    pub losses: bool,
    /// With --losses: what a dead node had finished of a Chunk is taken over, and the output judged instead of compared
    #[arg(long, requires = "losses")]
    pub split_tail: bool,
    /// With --losses: seconds for each death, which comes at a random moment of them. A slot is half a core on two cores, so that
    /// 20 there are what 10 are where each slot has a core
    #[arg(
        long,
        requires = "losses",
        default_value_t = 10,
        value_name = "SECONDS"
    )]
    pub every: u64,
    /// Runs
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub runs: usize,
    /// Length of the film [default: 120 for --straggler; for --losses what keeps this machine busy for ten minutes]
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Seed of who dies
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Source; repeated or cut to `seconds`.
    pub clip: PathBuf,
    /// Runs.
    pub runs: usize,
    /// Length of the film; `None`: as is usual.
    pub seconds: Option<f64>,
    /// Seed of who dies.
    pub seed: u64,
    /// Time between two deaths.
    pub every: Duration,
    /// The Jobs ask for `--split-tail`.
    pub split_tail: bool,
    /// Begin no run after this.
    pub deadline: Deadline,
}

/// One output, no sound: everything that is counted is encodes.
fn flags(segment: &str) -> [&str; 10] {
    [
        "--codec",
        "h264",
        "--preset",
        "medium",
        "--crf",
        "23",
        "--segment",
        segment,
        "--audio-codec",
        "none",
    ]
}

/// Measures.
/// # Errors
/// A job fails, or the machine takes no control groups.
pub fn run(
    tools: &Tools,
    clip: PathBuf,
    asked: &Asked,
    deadline: Deadline,
    sheet: &mut Sheet,
) -> Result<()> {
    let wanted = Wanted {
        clip,
        runs: asked.runs,
        seconds: asked.seconds,
        seed: asked.seed,
        every: Duration::from_secs(asked.every.max(1)),
        split_tail: asked.split_tail,
        deadline,
    };
    match asked.straggler {
        true => straggler::run(tools, &wanted, sheet),
        false => losses::run(tools, &wanted, sheet),
    }
}

/// How long nodes may take to report for the first time.
const JOINING: Duration = Duration::from_secs(60);

/// Three coordinators, and nodes whose encoders get a share of a core each.
struct Cluster {
    site: Site,
    folder: PathBuf,
    real: PathBuf,
    /// One for each node that ever was; those of dead ones count as well.
    encoders: Vec<Throttled>,
}

impl Cluster {
    fn start(tools: &Tools, folder: &Path) -> Result<Self> {
        let wanted = site::Wanted {
            programs: Programs::beside(tools, &tools.ffmpeg)?,
            nodes: 0,
            workers: 1,
            cuttable: false,
            fillable: Vec::new(),
        };
        Ok(Self {
            site: Site::start(wanted, folder)?,
            folder: folder.to_owned(),
            real: tools.ffmpeg.clone(),
            encoders: Vec::new(),
        })
    }

    fn join(&mut self, cores: f64) -> Result<Member> {
        let folder = self.folder.join(format!("ffmpeg-{}", self.encoders.len()));
        let encoder = Throttled::install(&folder, &self.real, cores)?;
        let ffmpeg = encoder.ffmpeg.clone();
        self.encoders.push(encoder);
        // The encoder joins a control group, which a confined child could not.
        let flags = ["--sandbox", "off"].map(str::to_owned).into();
        self.site.join(Joined {
            ffmpeg,
            workers: 1,
            flags,
        })
    }

    /// Waits until so many nodes are present.
    fn wait_for(&mut self, nodes: usize) -> Result<()> {
        let since = Instant::now();
        loop {
            let all: Vec<recode_types::NodeStatus> = self.site.told(&["nodes", "--json"])?;
            let present = all
                .iter()
                .filter_map(|node| node.heard.as_ref())
                .filter(|heard| heard.present)
                .count();
            if present >= nodes {
                return Ok(());
            }
            for member in self.site.nodes() {
                if let Some(process) = self.site.process(member)
                    && process.ended()?.is_some()
                {
                    bail!("a node has ended: {}", process.last_words());
                }
            }
            ensure!(
                since.elapsed() < JOINING,
                "only {present} of {nodes} nodes have reported"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Processor seconds of all encoders so far.
    fn cpu_seconds(&self) -> Result<f64> {
        self.encoders.iter().map(Throttled::cpu_seconds).sum()
    }

    fn submit(&self, source: &Path, output: &Path, flags: &[&str]) -> Result<JobId> {
        let urls = [source, output].map(|path| format!("file://{}", path.display()));
        let mut arguments = vec!["submit", &urls[0], "-o", &urls[1]];
        arguments.extend(flags);
        let submitted = self.site.ask(&arguments)?;
        ensure!(
            submitted.status.success(),
            "the job was not taken: {}",
            String::from_utf8_lossy(&submitted.stderr).trim()
        );
        Ok(String::from_utf8(submitted.stdout)?.trim().parse()?)
    }

    /// Whether a job is done; an error when it ended otherwise.
    fn is_done(&self, job: JobId) -> Result<bool> {
        #[derive(serde::Deserialize)]
        struct Shown {
            status: JobStatus,
        }
        let Shown { status } = self.site.told(&["show", &job.to_string(), "--json"])?;
        match status.state {
            JobState::Done => Ok(true),
            state if state.is_terminal() => bail!(
                "the job ended as {}: {}",
                state.name(),
                status.reason.unwrap_or_default()
            ),
            _ => Ok(false),
        }
    }

    fn report(&self, job: JobId) -> Result<JobReport> {
        self.site.told(&["report", &job.to_string(), "--json"])
    }
}

/// Processor seconds of the encodes that count.
fn accepted(report: &JobReport) -> f64 {
    let segments = report.outputs.iter().flat_map(|output| &output.segments);
    segments.map(|segment| segment.cpu_seconds).sum()
}

fn segments(report: &JobReport) -> usize {
    report
        .outputs
        .iter()
        .map(|output| output.segments.len())
        .sum()
}
