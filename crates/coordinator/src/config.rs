//! Command line and config file of the coordinator: the same settings, the command line wins.

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use recode_coordinator::assembly::{Beginning, Config};
use recode_coordinator::{Copies, Timings};
use recode_core::PlanPolicy;
use recode_core::machine::Retention;
use recode_mesh::nats;
use recode_mesh::subjects::UNNAMED;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keeps the state of jobs and hands their work to nodes.
#[derive(Debug, Default, Parser)]
#[command(name = "recode-coordinator", version)]
pub struct Flags {
    /// Something else than to run.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// Settings as a TOML file: names as below with _ for -; the command line wins
    #[arg(long, env = "RECODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Folder of the replicated log and its snapshots; one for each coordinator
    #[arg(long, env = "RECODE_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Address to listen on [default: 127.0.0.1:7420]
    #[arg(long, env = "RECODE_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Where others reach this coordinator [default: where it listens]
    #[arg(long, env = "RECODE_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,

    /// Where nodes keep what they make until it is an output: a folder or s3://BUCKET/PREFIX that all nodes can reach
    #[arg(long, env = "RECODE_WORK_STORE", value_name = "URL")]
    work_store: Option<String>,

    /// Number of this coordinator among the founders
    #[arg(long, env = "RECODE_ID", value_name = "N")]
    id: Option<u64>,

    /// All coordinators that found a cluster together, as 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT
    #[arg(long, env = "RECODE_FOUNDERS", value_name = "LIST")]
    founders: Option<String>,

    /// With an empty data folder, wait until a cluster adopts this coordinator (`recode-client cluster add`)
    #[arg(long, env = "RECODE_WAIT", conflicts_with = "founders")]
    wait: bool,

    /// As --wait, and ask the coordinator there to adopt this one
    #[arg(
        long,
        env = "RECODE_JOIN",
        value_name = "HOST:PORT",
        conflicts_with = "founders"
    )]
    join: Option<String>,

    /// Also take nodes that reach only this NATS server; several for the servers of one NATS cluster
    #[arg(
        long,
        env = "RECODE_NATS",
        value_name = "nats://HOST:PORT",
        value_delimiter = ','
    )]
    nats: Vec<String>,

    /// Name of this cluster on NATS, where several share a server [default: main]
    #[arg(long, env = "RECODE_NATS_CLUSTER", value_name = "NAME")]
    nats_cluster: Option<String>,

    /// Listen on addresses that other machines can reach, although nobody is asked who they are
    #[arg(long, env = "RECODE_INSECURE")]
    insecure: bool,

    /// What to log, as in `info` or `recode_coordinator=debug` [default: info]
    #[arg(long, env = "RECODE_LOG", value_name = "FILTER")]
    log: Option<String>,
}

/// What the program can do besides running a coordinator.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Print the replicated log of a data folder, entry by entry; changes nothing
    Dump {
        /// Data folder of a coordinator, or a copy of one
        #[arg(value_name = "DIR")]
        data_dir: PathBuf,
        /// One JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// Found a new cluster on the copy of a lost one's state in its work store
    ///
    /// Stop what is left of the lost cluster first, nodes too. What it accepted after the copy was made is not known.
    Restore {
        /// The work store of the lost cluster: a folder or s3://BUCKET/PREFIX
        #[arg(long, value_name = "URL")]
        from: String,
        /// The lost cluster, where the store has copies of several
        #[arg(long, value_name = "NAME")]
        cluster: Option<String>,
        /// Data folder of the first coordinator of the new cluster; empty or missing
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
}

/// The config file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    advertise: Option<String>,
    work_store: Option<String>,
    id: Option<u64>,
    founders: Option<BTreeMap<String, String>>,
    wait: bool,
    join: Option<String>,
    nats: Vec<String>,
    nats_cluster: Option<String>,
    insecure: bool,
    log: Option<String>,
    /// Milliseconds between heartbeats of the Leader.
    heartbeat_ms: Option<u64>,
    /// Milliseconds of silence after which a new Leader is elected: between these two, drawn by chance.
    election_min_ms: Option<u64>,
    election_max_ms: Option<u64>,
    /// Hours that an ended job stays before it is archived.
    keep_hours: Option<f64>,
    /// Ended jobs that stay at most, whatever their age; the oldest are archived first.
    most_ended: Option<u32>,
    /// Archived jobs that are remembered at most; the oldest are forgotten first.
    most_archived: Option<u32>,
    /// Minutes after which a changed state is copied to the work store.
    copy_minutes: Option<f64>,
    /// Copies of the state that are kept in the work store; 0: none are made.
    copies: Option<usize>,
}

/// What the process runs with.
#[derive(Debug)]
pub struct Settings {
    /// The coordinator's part.
    pub config: Config,
    /// What to log.
    pub log: String,
}

impl Flags {
    /// Puts file and command line together.
    /// # Errors
    /// One sentence that names the setting and the remedy.
    pub fn settings(self) -> anyhow::Result<Settings> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => File::default(),
        };
        let (retention, copies) = (file.retention()?, file.copies()?);
        let founders = match self.founders {
            Some(list) => Some(parse_founders(&list)?),
            None => file.founders.map(numbered).transpose()?,
        };
        let urls = match self.nats.is_empty() {
            true => file.nats,
            false => self.nats,
        };
        let nats = nats(&urls, self.nats_cluster.or(file.nats_cluster))?;
        let join = self.join.or(file.join);
        let wait = self.wait || file.wait || join.is_some();
        let beginning = match (founders, self.id.or(file.id), wait) {
            (Some(_), _, true) => {
                bail!(
                    "--wait and --join are for coordinators that found no cluster: leave --founders out"
                )
            }
            (Some(founders), Some(me), false) => Beginning::Together { me, founders },
            (Some(_), None, false) => bail!("--id is missing: which of the --founders is this?"),
            (None, _, true) => Beginning::Wait { ask: join },
            (None, Some(_), false) => bail!("--id is of use with --founders only"),
            (None, None, false) => Beginning::Alone,
        };
        let usual = Timings::default();
        let ms = |given: Option<u64>, usual| given.map_or(usual, Duration::from_millis);
        Ok(Settings {
            config: Config {
                data_dir: self
                    .data_dir
                    .or(file.data_dir)
                    .context("--data-dir is missing: a folder of this coordinator's own")?,
                listen: self
                    .listen
                    .or(file.listen)
                    .unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7420))),
                advertise: self.advertise.or(file.advertise),
                work_store: self.work_store.or(file.work_store).context(
                    "--work-store is missing: a folder or s3://BUCKET/PREFIX that all nodes can reach",
                )?,
                insecure: self.insecure || file.insecure,
                plan: PlanPolicy::default(),
                beginning,
                timings: Timings {
                    heartbeat: ms(file.heartbeat_ms, usual.heartbeat),
                    election_min: ms(file.election_min_ms, usual.election_min),
                    election_max: ms(file.election_max_ms, usual.election_max),
                },
                retention,
                copies,
                nats,
                embedded: false,
            },
            log: self.log.or(file.log).unwrap_or_else(|| "info".into()),
        })
    }
}

impl File {
    fn retention(&self) -> anyhow::Result<Retention> {
        let usual = Retention::default();
        let keep = self
            .keep_hours
            .map(|hours| duration("keep_hours", hours * 3600.0));
        let keep_ms = keep.transpose()?.map(|keep| keep.as_millis() as u64);
        Ok(Retention {
            keep_ms: keep_ms.unwrap_or(usual.keep_ms),
            most_ended: self.most_ended.unwrap_or(usual.most_ended),
            most_stubs: self.most_archived.unwrap_or(usual.most_stubs),
        })
    }

    fn copies(&self) -> anyhow::Result<Copies> {
        let usual = Copies::default();
        let every = self
            .copy_minutes
            .map(|minutes| duration("copy_minutes", minutes * 60.0));
        let every = every.transpose()?.unwrap_or(usual.every);
        if every < Duration::from_secs(1) {
            bail!("copy_minutes is too short: one second at least");
        }
        Ok(Copies {
            every,
            keep: self.copies.unwrap_or(usual.keep),
        })
    }
}

fn nats(urls: &[String], cluster: Option<String>) -> anyhow::Result<Option<nats::Settings>> {
    match (urls.is_empty(), cluster) {
        (true, None) => Ok(None),
        (true, Some(_)) => bail!("--nats-cluster is of use with --nats only"),
        (false, cluster) => {
            let cluster = cluster.unwrap_or_else(|| UNNAMED.to_owned());
            let settings = nats::Settings::new(urls, &cluster).context("--nats")?;
            Ok(Some(settings))
        }
    }
}

fn duration(name: &str, seconds: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("{name} is not a time that can be waited for"))
}

fn read(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the config file {} cannot be read", path.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("the config file {} is not right", path.display()))
}

fn parse_founders(list: &str) -> anyhow::Result<BTreeMap<u64, String>> {
    let pairs = list.split(',').map(|pair| {
        let (id, address) = pair
            .trim()
            .split_once('=')
            .with_context(|| format!("--founders: \"{pair}\" should be as in 1=10.0.0.1:7420"))?;
        Ok((id.to_owned(), address.to_owned()))
    });
    numbered(pairs.collect::<anyhow::Result<_>>()?)
}

fn numbered(founders: BTreeMap<String, String>) -> anyhow::Result<BTreeMap<u64, String>> {
    founders
        .into_iter()
        .map(|(id, address)| {
            let id = id.parse().with_context(|| {
                format!("founders: \"{id}\" is not the number of a coordinator")
            })?;
            Ok((id, address))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> anyhow::Result<Settings> {
        let usual = ["recode-coordinator", "--data-dir", "d", "--work-store", "w"];
        Flags::try_parse_from(usual.iter().chain(args))?.settings()
    }

    #[test]
    fn founders_are_read_from_either_place_and_the_command_line_wins() {
        let list = "1=a:1,2=b:1,3=c:1";
        let flags = settings(&["--founders", list, "--id", "2"]).unwrap();
        let Beginning::Together { me, founders } = &flags.config.beginning else {
            panic!("{:?}", flags.config.beginning);
        };
        assert_eq!((*me, founders[&3].as_str()), (2, "c:1"));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let text = "listen = \"127.0.0.1:9\"\nid = 1\nelection_max_ms = 2000\n\
                    [founders]\n1 = \"a:1\"\n2 = \"b:1\"\n3 = \"c:1\"\n";
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let from_file = settings(&["--config", path, "--id", "2"]).unwrap();
        assert_eq!(from_file.config.beginning, flags.config.beginning);
        assert_eq!(from_file.config.listen.port(), 9);
        assert_eq!(
            from_file.config.timings.election_max,
            Duration::from_secs(2)
        );
        std::fs::write(path, "lisen = 1").unwrap();
        assert!(format!("{:#}", settings(&["--config", path]).unwrap_err()).contains("lisen"));
    }

    #[test]
    fn what_is_kept_is_read_from_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let path = path.to_str().unwrap();
        let read = |text: &str| {
            std::fs::write(path, text).unwrap();
            settings(&["--config", path]).map(|settings| settings.config)
        };
        let usual = read("").unwrap();
        assert_eq!(usual.retention, Retention::default());
        assert_eq!(usual.copies, Copies::default());
        let text =
            "keep_hours = 0.5\nmost_ended = 7\nmost_archived = 8\ncopy_minutes = 2\ncopies = 0\n";
        let config = read(text).unwrap();
        let retention = Retention {
            keep_ms: 30 * 60_000,
            most_ended: 7,
            most_stubs: 8,
        };
        assert_eq!(config.retention, retention);
        let copies = Copies {
            every: Duration::from_secs(120),
            keep: 0,
        };
        assert_eq!(config.copies, copies);
        for bad in [
            "keep_hours = -1",
            "copy_minutes = 0.0",
            "copies = -1",
            "keep_hours = nan",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for bad in [
            &["--founders", "1=a:1"][..],
            &["--id", "1"],
            &["--founders", "a:1", "--id", "1"],
            &["--founders", "x=a:1", "--id", "1"],
            &["--founders", "1=a:1", "--id", "1", "--wait"],
            &["--nats-cluster", "main"],
            &["--nats", "http://a:1"],
            &["--nats", "a:4222", "--nats-cluster", "a.b"],
        ] {
            assert!(settings(bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            settings(&["--join", "a:1"]).unwrap().config.beginning,
            Beginning::Wait {
                ask: Some("a:1".into())
            }
        );
    }
}
