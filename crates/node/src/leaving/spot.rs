//! Whether whoever lends the machine wants it back: asks the metadata service now and then, and has the node leave.
//!
//! Two things are looked for. A *notice* names the time at which the machine stops: what can be finished before is, the rest goes
//! back at once. A *hint* (rebalance recommendation) names none: the node takes nothing new and finishes what it has.
//! Deliberately silent where there is no such service: it is looked for once, and never spoken to again.

use super::{Cause, Leave};
use crate::imds::{self, Metadata, Service};
use serde::Deserialize;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// What to look at, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookout {
    /// Where.
    pub metadata: Metadata,
    /// How often.
    pub every: Duration,
}

/// The longest time between a notice and its deadline. A clock that is wrong must not make a node believe in more.
const LONGEST: Duration = Duration::from_secs(120);

/// What the service says of the end of a machine.
#[derive(Debug, Deserialize)]
struct InstanceAction {
    action: String,
    time: String,
}

/// Looks out until a notice has come; a hint before it is passed on too. Returns at once where there is no service.
pub async fn look_out(lookout: Lookout, wishes: mpsc::Sender<Leave>) {
    let Some(url) = lookout.metadata.url() else {
        return;
    };
    let is_certain = lookout.metadata != Metadata::Auto;
    let mut service = match Service::at(url) {
        Ok(service) => service,
        Err(error) => {
            tracing::error!(%error, "spot notices will not be seen");
            return;
        }
    };
    match service.detect().await {
        Ok(()) => tell_where(&mut service).await,
        Err(error) if is_certain => {
            tracing::warn!(%error, %url, "no metadata service yet; it is asked again");
        }
        Err(error) => {
            tracing::debug!(%error, "no metadata service here: nobody will take this machine back");
            return;
        }
    }
    let mut hinted = false;
    let mut tick = tokio::time::interval(lookout.every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match notice(&mut service).await {
            Ok(Some(wish)) => {
                tracing::warn!("this machine will be taken back");
                // A node that has ended has left.
                let _ = wishes.send(wish).await;
                return;
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "no answer on spot notices"),
        }
        if !hinted && is_hinted(&mut service).await {
            hinted = true;
            tracing::warn!("this machine may be taken back soon");
            let wish = Leave {
                cause: Cause::Reclaimed,
                deadline: None,
            };
            let _ = wishes.send(wish).await;
        }
    }
}

/// For people who read the log.
async fn tell_where(service: &mut Service) {
    let mut said = async |path| service.get(path).await.ok().flatten().unwrap_or_default();
    let instance = said("instance-type").await;
    let region = said("placement/region").await;
    tracing::info!(%instance, %region, "a metadata service answers: spot notices are looked for");
}

async fn is_hinted(service: &mut Service) -> bool {
    let said = service.get("events/recommendations/rebalance").await;
    said.is_ok_and(|said| said.is_some())
}

async fn notice(service: &mut Service) -> Result<Option<Leave>, imds::Error> {
    let Some(said) = service.get("spot/instance-action").await? else {
        return Ok(None);
    };
    let left = time_left(&said, SystemTime::now());
    Ok(Some(Leave {
        cause: Cause::Reclaimed,
        deadline: Some(Instant::now() + left),
    }))
}

/// How long a machine still runs after a notice. One that is hibernated stops at once; of one that cannot be read, nothing is
/// known but that it has been given.
fn time_left(notice: &str, now: SystemTime) -> Duration {
    let Ok(notice) = serde_json::from_str::<InstanceAction>(notice) else {
        return Duration::ZERO;
    };
    if notice.action == "hibernate" {
        return Duration::ZERO;
    }
    let at = moment(&notice.time).unwrap_or(now);
    at.duration_since(now).unwrap_or_default().min(LONGEST)
}

/// A time such as `2017-09-18T08:22:00Z`, with or without a fraction.
fn moment(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let all: Option<Vec<u64>> = text.split(by).map(|n| n.parse().ok()).collect();
        all?.try_into().ok()
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let fits = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !fits || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, counted from March, so that a leap day is the last of its year.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    let fraction: f64 = format!("0.{fraction}").parse().ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_secs_f64(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_testkit::metadata::Metadata as Stub;

    #[test]
    fn times_are_read_to_the_second() {
        let check = |text, expected: Option<u64>| {
            let seconds = moment(text).map(|at| {
                let since = at.duration_since(SystemTime::UNIX_EPOCH);
                since.unwrap().as_secs()
            });
            assert_eq!(seconds, expected, "{text}");
        };
        check("1970-01-01T00:00:00Z", Some(0));
        check("2017-09-18T08:22:00Z", Some(1_505_722_920));
        check("2024-02-29T23:59:59.75Z", Some(1_709_251_199));
        check("2026-11-22T03:00:00Z", Some(1_795_316_400));
        for bad in [
            "",
            "2017-09-18",
            "2017-09-18T08:22:00",
            "2017-13-18T08:22:00Z",
            "soon",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_notice_leaves_the_time_it_names_and_one_that_cannot_be_read_none() {
        let now = moment("2017-09-18T08:20:00Z").unwrap();
        let check = |notice: &str, expected| {
            assert_eq!(
                time_left(notice, now),
                Duration::from_secs(expected),
                "{notice}"
            );
        };
        check(
            r#"{"action": "terminate", "time": "2017-09-18T08:21:30Z"}"#,
            90,
        );
        check(r#"{"action": "stop", "time": "2017-09-18T08:22:00Z"}"#, 120);
        check(
            r#"{"action": "terminate", "time": "2017-09-18T09:22:00Z"}"#,
            120,
        );
        check(
            r#"{"action": "terminate", "time": "2017-09-18T08:19:00Z"}"#,
            0,
        );
        check(
            r#"{"action": "hibernate", "time": "2017-09-18T08:22:00Z"}"#,
            0,
        );
        check(r#"{"action": "terminate", "time": "soon"}"#, 0);
        check("soon", 0);
    }

    fn watch(stub: &Stub) -> mpsc::Receiver<Leave> {
        let (wishes, heard) = mpsc::channel(4);
        let lookout = Lookout {
            metadata: Metadata::At(stub.url()),
            every: Duration::from_millis(20),
        };
        tokio::spawn(look_out(lookout, wishes));
        heard
    }

    #[tokio::test]
    async fn a_hint_asks_to_leave_without_haste_and_a_notice_after_it_names_the_end() {
        let stub = Stub::start().unwrap();
        let mut heard = watch(&stub);
        stub.hint();
        let hint = heard.recv().await.unwrap();
        assert_eq!((hint.cause, hint.deadline), (Cause::Reclaimed, None));
        let before = Instant::now();
        stub.notice("terminate", Duration::from_secs(60));
        let notice = heard.recv().await.unwrap();
        let left = notice.deadline.unwrap().duration_since(before);
        // The service names whole seconds.
        assert!((58..=61).contains(&left.as_secs()), "{left:?}");
        assert!(
            heard.recv().await.is_none(),
            "there is nothing more to look for"
        );
    }

    #[tokio::test]
    async fn a_service_that_fails_for_a_while_is_asked_again() {
        let stub = Stub::start().unwrap();
        stub.fail(true);
        let mut heard = watch(&stub);
        stub.until_asked(3).await;
        stub.notice("terminate", Duration::from_secs(60));
        stub.fail(false);
        assert!(heard.recv().await.unwrap().deadline.is_some());
    }

    #[tokio::test]
    async fn where_it_is_not_there_or_not_wanted_nobody_is_asked() {
        for metadata in [Metadata::Off, Metadata::At("nonsense".into())] {
            let (wishes, _heard) = mpsc::channel(1);
            let every = Duration::from_millis(1);
            // Returns.
            look_out(Lookout { metadata, every }, wishes).await;
        }
    }
}
