//! `events`: what a cluster says to whoever listens on NATS.

use crate::bars;
use crate::clock::show_time;
use crate::fault::Fault;
use crate::flags::Events;
use crate::follow::Interrupt;
use crate::remote::{fault, runtime, say_json_line};
use recode_mesh::nats::Settings;
use recode_mesh::nats::events::{Announced, Listener, Told};
use recode_types::EventKind;
use serde_json::Value;

/// Prints events as they come: until the end of the job that was named, or until Ctrl-C.
/// # Errors
/// No NATS server is reached.
pub fn run(args: &Events) -> Result<(), Fault> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut interrupt = Interrupt::listen()?;
        tokio::select! {
            done = listen(args) => done,
            // The usual end.
            () = interrupt.heard() => Ok(()),
        }
    });
    runtime.shutdown_background();
    done
}

async fn listen(args: &Events) -> Result<(), Fault> {
    let settings = Settings::new(&args.nats, &args.nats_cluster).map_err(fault)?;
    let mut listener = Listener::start(&settings, args.job).await.map_err(fault)?;
    bars::line(&format!("recode-client: listening at {}", settings.at()));
    loop {
        match listener.next().await.map_err(fault)? {
            Told::Missed { job, from, to } => bars::line(&format!(
                "recode-client: warning: events {from} to {} of {job} did not come; recode-client watch asks a coordinator",
                to - 1
            )),
            Told::Event(announced) => {
                match args.json {
                    true => say_json_line(&announced),
                    false => crate::say(&format!("{}\n", said(&announced))),
                }
                let ended = matches!(announced.event.kind, EventKind::Ended { .. });
                if ended && args.job.is_some() {
                    return Ok(());
                }
            }
        }
    }
}

/// One line: when, which job, the index, what.
fn said(announced: &Announced) -> String {
    let Announced { job, event } = announced;
    let kind = serde_json::to_value(&event.kind).expect("plain data always serialises");
    let what = match kind {
        Value::Object(kind) => kind
            .into_iter()
            .map(|(name, fields)| format!("{name}{}", words(&fields)))
            .collect(),
        Value::String(name) => name,
        other => other.to_string(),
    };
    format!("{} {job} {} {what}", show_time(event.at_ms), event.index)
}

fn words(fields: &Value) -> String {
    let fields = fields.as_object().into_iter().flatten();
    fields
        .map(|(name, value)| format!(" {name}={value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{Event, JobId};

    #[test]
    fn an_event_is_one_line() {
        let line = |kind| {
            said(&Announced {
                job: JobId(7),
                event: Event {
                    index: 3,
                    at_ms: 1_795_265_445_000,
                    kind,
                },
            })
        };
        let start = "2026-11-21 12:50:45 UTC job_00000000000000000000000000000007 3";
        assert_eq!(line(EventKind::Submitted), format!("{start} Submitted"));
        let reopened = EventKind::Reopened {
            chunks: 2,
            reason: "too\nlarge".into(),
        };
        let expected = format!("{start} Reopened chunks=2 reason=\"too\\nlarge\"");
        assert_eq!(line(reopened), expected);
    }
}
