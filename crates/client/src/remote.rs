//! What the commands share that talk to a cluster.

use crate::bars;
use crate::fault::{Fault, Kind};
use crate::flags::Remote;
use recode_client::{Client, Error};
use recode_types::{JobId, JobState, JobStatus};
use std::io::IsTerminal as _;
use std::time::{Duration, SystemTime};

/// How long a command waits for a coordinator that answers. An election takes two or three seconds.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `work` with a client of the cluster.
/// # Errors
/// Those of `work`; the endpoint is none.
pub fn with<T>(
    remote: &Remote,
    work: impl AsyncFnOnce(Client) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let runtime = runtime()?;
    let done = runtime.block_on(async { work(client(&remote.endpoint)?).await });
    runtime.shutdown_background();
    done
}

/// A client of the cluster at `endpoint`.
/// # Errors
/// It is no address.
pub fn client(endpoint: &str) -> Result<Client, Fault> {
    let client = Client::at(endpoint).map_err(fault)?;
    Ok(client.patience(PATIENCE).on_silence(Some(waiting)))
}

/// Tells people why nothing happens. Programs hear of it when it is over.
fn waiting(error: &Error) {
    if std::io::stderr().is_terminal() {
        bars::line(&format!("recode-client: {error}; trying again"));
    }
}

/// Small on purpose: a command has little to do itself, and threads cost start-up time.
/// # Errors
/// [`Kind::Environment`].
pub fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| {
            Fault::environment(format!(
                "no threads can be started ({e}); end other programs"
            ))
        })
}

/// A call that failed, as a fault.
pub fn fault(error: Error) -> Fault {
    let kind = match &error {
        Error::Address(_) | Error::Nats(_) | Error::Invalid(_) => Kind::Usage,
        Error::NotFound(_) | Error::Precondition(_) | Error::Internal(_) => Kind::Job,
        Error::Unavailable { .. } => Kind::Environment,
    };
    Fault::new(kind, error.to_string())
}

/// A call about `thing` that failed: what the cluster says of its state is said with its name.
pub fn about(thing: impl std::fmt::Display) -> impl FnOnce(Error) -> Fault {
    move |error| {
        let named = matches!(error, Error::NotFound(_) | Error::Precondition(_));
        let mut fault = fault(error);
        if named && !fault.message.contains(&thing.to_string()) {
            fault.message = format!("{thing}: {}", fault.message);
        }
        fault
    }
}

/// A request id that nobody had.
pub fn new_request_id() -> String {
    format!("client-{}", uuid::Uuid::now_v7().simple())
}

/// Writes a result as one JSON document.
pub fn say_json(value: &impl serde::Serialize) {
    let json = serde_json::to_string_pretty(value).expect("it is plain data");
    crate::say(&format!("{json}\n"));
}

/// Writes one of several results, each a JSON document on a line of its own.
pub fn say_json_line(value: &impl serde::Serialize) {
    let json = serde_json::to_string(value).expect("it is plain data");
    crate::say(&format!("{json}\n"));
}

/// The word for how a Job stands.
pub fn state_name(status: &JobStatus) -> &'static str {
    match status.state {
        JobState::Done | JobState::Failed | JobState::Cancelled => status.state.name(),
        _ if status.paused => "paused",
        other => other.name(),
    }
}

/// How to follow a Job.
pub fn come_back(job: JobId, endpoint: &str) -> String {
    format!("recode-client watch {job} --endpoint {endpoint}")
}

/// What is said when somebody stops following a Job.
pub fn detached(job: JobId, endpoint: &str) -> String {
    format!(
        "the job goes on; come back with: {}",
        come_back(job, endpoint)
    )
}

/// Milliseconds since 1970 by this machine's clock.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}
