//! A real S3 server (s3s-fs) over a directory, on a port of its own, that counts and misbehaves: by script
//! ([`Server::inject`]) or by chance with a seed ([`Server::add_rule`]).

mod answer;
mod fault;
mod kind;
mod turns;

pub use fault::{ANYWHERE, Fault, Rule, Which, bad_day};
pub use kind::{Count, Kind};
pub use turns::in_turn;

use crate::serve::{Running, serve_at};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fault::Rules;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

/// The access key and secret the server takes.
pub const KEY: &str = "test";

/// A running S3 server. Dropping it stops it; the directory stays.
pub struct Server {
    running: Running,
    dir: PathBuf,
    state: Shared,
}

/// What the server knows besides what it stores.
#[derive(Default)]
struct State {
    counts: BTreeMap<Kind, Count>,
    /// Bytes of bodies that went out, by bucket.
    sent: BTreeMap<String, u64>,
    /// By kind of request and name of fault.
    struck: BTreeMap<(Kind, &'static str), u64>,
    script: Vec<(Kind, String, Fault)>,
    rules: Rules,
    random: Option<fastrand::Rng>,
    /// The first answers to questions, for [`Fault::Stale`].
    first_answers: BTreeMap<String, answer::Remembered>,
}

type Shared = Arc<Mutex<State>>;

fn lock(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().expect("no one panics while holding it")
}

impl Server {
    /// Serves `dir`, whose sub-directories are the buckets.
    ///
    /// # Errors
    /// What opening a socket, or a directory that is missing, may meet.
    pub fn start(dir: &Path) -> io::Result<Self> {
        Self::start_at(dir, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// As [`Server::start`], on an address of the caller's choice.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_at(dir: &Path, listen: SocketAddr) -> io::Result<Self> {
        let files = s3s_fs::FileSystem::new(dir).map_err(|e| io::Error::other(format!("{e:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, KEY));
        let service = builder.build();
        let state = Shared::default();
        let running = serve_at(listen, {
            let state = state.clone();
            move |request| answer::answer(service.clone(), state.clone(), request)
        })?;
        Ok(Self {
            running,
            dir: dir.to_owned(),
            state,
        })
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.running.addr)
    }

    /// The environment that makes a process use this server.
    pub fn env(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
        ]
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// What creating a directory may meet.
    pub fn create_bucket(&self, bucket: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.dir.join(bucket))
    }

    /// Puts a file into a bucket without sending it through the network, by a hard link where possible. It gets an ETag
    /// from its inode, length and time of change: hashing a long film for every request would make the server the bottleneck.
    ///
    /// # Errors
    /// What linking or copying a file may meet.
    pub fn place(&self, bucket: &str, key: &str, file: &Path) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let target = self.dir.join(bucket).join(key);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let _ = std::fs::remove_file(&target);
        if std::fs::hard_link(file, &target).is_err() {
            std::fs::copy(file, &target)?;
        }
        let meta = std::fs::metadata(&target)?;
        let time = meta.mtime() ^ meta.mtime_nsec();
        let tag = format!("{:08x}{:012x}{time:012x}", meta.ino(), meta.len());
        let name = |text: &str| URL_SAFE_NO_PAD.encode(text);
        // Where s3s-fs keeps what it knows of an object.
        let notes = format!(
            ".bucket-{}.object-{}.internal.json",
            name(bucket),
            name(key)
        );
        std::fs::write(
            self.dir.join(notes),
            serde_json::json!({ "e_tag": tag }).to_string(),
        )
    }

    /// Where an object's bytes lie on this machine.
    pub fn path_of(&self, bucket: &str, key: &str) -> PathBuf {
        self.dir.join(bucket).join(key)
    }

    /// What was asked and sent since the start or the last [`Server::reset`].
    pub fn counts(&self) -> BTreeMap<Kind, Count> {
        lock(&self.state).counts.clone()
    }

    /// The count of one kind.
    pub fn count(&self, kind: Kind) -> Count {
        self.counts().get(&kind).copied().unwrap_or_default()
    }

    /// Bytes of bodies that went out of one bucket.
    pub fn bytes_sent_from(&self, bucket: &str) -> u64 {
        lock(&self.state).sent.get(bucket).copied().unwrap_or(0)
    }

    /// How many requests came in, of all kinds.
    pub fn requests(&self) -> u64 {
        self.counts().values().map(|count| count.requests).sum()
    }

    /// What went wrong so far, by kind of request and name of fault.
    pub fn struck(&self) -> BTreeMap<(Kind, &'static str), u64> {
        lock(&self.state).struck.clone()
    }

    /// Everything that left the server's sockets, headers included.
    pub fn wire_bytes_sent(&self) -> u64 {
        self.running.wire_bytes_sent.load(Ordering::Relaxed)
    }

    /// Multipart uploads that were begun and neither completed nor given up.
    ///
    /// # Errors
    /// What reading the directory may meet.
    pub fn open_uploads(&self) -> io::Result<usize> {
        let mut open = 0;
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            // Where s3s-fs keeps who began an upload.
            open += usize::from(name.starts_with(".upload-") && name.ends_with(".json"));
        }
        Ok(open)
    }

    /// Sets all counters to zero and forgets faults that have not happened, rules and old answers.
    pub fn reset(&self) {
        *lock(&self.state) = State::default();
        self.running.wire_bytes_sent.store(0, Ordering::Relaxed);
    }

    /// Lets the next request of a kind go wrong. Faults of one kind happen in the order they were asked for, before those of
    /// rules.
    pub fn inject(&self, kind: Kind, fault: Fault) {
        self.inject_at(kind, "", fault);
    }

    /// Lets the next request of a kind go wrong that is about a key that holds `key`. As [`Server::inject`] otherwise.
    pub fn inject_at(&self, kind: Kind, key: &str, fault: Fault) {
        let mut state = lock(&self.state);
        state.script.push((kind, key.to_owned(), fault));
    }

    /// Adds a rule, after those that are there: of several that strike at once the first one does.
    pub fn add_rule(&self, rule: Rule) {
        lock(&self.state).rules.add(rule);
    }

    /// Takes all rules away.
    pub fn clear_rules(&self) {
        lock(&self.state).rules.clear();
    }

    /// Seeds the chance of rules. The same seed and the same order of requests give the same faults.
    pub fn seed(&self, seed: u64) {
        lock(&self.state).random = Some(fastrand::Rng::with_seed(seed));
    }
}

impl State {
    fn note(&mut self, kind: Kind, change: impl FnOnce(&mut Count)) {
        change(self.counts.entry(kind).or_default());
    }

    fn random(&mut self) -> &mut fastrand::Rng {
        self.random
            .get_or_insert_with(|| fastrand::Rng::with_seed(0))
    }

    /// What goes wrong with this request.
    fn strike(&mut self, kind: Kind, path: &str) -> Option<Fault> {
        let scripted = self
            .script
            .iter()
            .position(|(of, key, _)| *of == kind && path.contains(key.as_str()));
        let fault = match scripted {
            Some(at) => Some(self.script.remove(at).2),
            None => {
                self.random();
                let State { rules, random, .. } = self;
                rules.strike(kind, path, random.as_mut()?)
            }
        }?;
        *self.struck.entry((kind, fault.name())).or_default() += 1;
        Some(fault)
    }
}
