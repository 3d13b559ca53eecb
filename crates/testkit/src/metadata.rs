//! The instance metadata service of a lent machine, version 2, whose notices a test makes up.

use crate::serve::{AnyError, Running, serve};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// A running service. Dropping it stops it.
pub struct Metadata {
    running: Running,
    shared: Arc<Mutex<Shared>>,
    answered: Arc<Notify>,
}

#[derive(Default)]
struct Shared {
    tokens: BTreeSet<String>,
    given: u64,
    asked: u64,
    failing: bool,
    hinted: bool,
    notice: Option<String>,
    /// When the notice was read first.
    seen: Option<Instant>,
}

impl Metadata {
    /// A machine that nobody wants back yet.
    ///
    /// # Errors
    /// What opening a socket may meet.
    pub fn start() -> io::Result<Self> {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let answered = Arc::new(Notify::new());
        let running = serve({
            let (shared, answered) = (shared.clone(), answered.clone());
            move |request| {
                let (shared, answered) = (shared.clone(), answered.clone());
                async move {
                    let said = answer(&mut shared.lock().expect("no test panics here"), &request);
                    answered.notify_waiters();
                    said
                }
            }
        })?;
        Ok(Self {
            running,
            shared,
            answered,
        })
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().expect("no test panics here")
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://{}", self.running.addr)
    }

    /// Gives notice: the machine ends after `left`. Times are of whole seconds, rounded up, as of the real one.
    pub fn notice(&self, action: &str, left: Duration) {
        let at = SystemTime::now() + left;
        let since = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let time = show(since.as_secs() + u64::from(since.subsec_nanos() > 0));
        let mut shared = self.shared();
        shared.notice = Some(format!(r#"{{"action": "{action}", "time": "{time}"}}"#));
        shared.seen = None;
    }

    /// Recommends to move elsewhere.
    pub fn hint(&self) {
        self.shared().hinted = true;
    }

    /// When a notice was read first; `None`: it was not.
    pub fn seen(&self) -> Option<Instant> {
        self.shared().seen
    }

    /// Answers nothing but 503 from now on, or answers again.
    pub fn fail(&self, failing: bool) {
        self.shared().failing = failing;
    }

    /// Tokens of before are worth nothing.
    pub fn forget_tokens(&self) {
        self.shared().tokens.clear();
    }

    /// Tokens given so far.
    pub fn tokens(&self) -> u64 {
        self.shared().given
    }

    /// Requests so far.
    pub fn asked(&self) -> u64 {
        self.shared().asked
    }

    /// Waits until there were so many requests.
    pub async fn until_asked(&self, requests: u64) {
        loop {
            let mut answered = std::pin::pin!(self.answered.notified());
            // From now on none is missed.
            answered.as_mut().enable();
            if self.asked() >= requests {
                return;
            }
            answered.await;
        }
    }
}

fn answer(shared: &mut Shared, request: &Request<Incoming>) -> Result<Response<String>, AnyError> {
    shared.asked += 1;
    let say = |status: StatusCode, body: &str| {
        let response = Response::builder().status(status);
        Ok(response.body(body.to_owned())?)
    };
    if shared.failing {
        return say(StatusCode::SERVICE_UNAVAILABLE, "");
    }
    let header = |name: &str| {
        let value = request.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let path = request.uri().path();
    if path == "/latest/api/token" {
        let ttl = header("x-aws-ec2-metadata-token-ttl-seconds");
        let lasts = ttl.and_then(|ttl| ttl.parse::<u32>().ok());
        if request.method() != Method::PUT || lasts.is_none_or(|s| !(1..=21_600).contains(&s)) {
            return say(StatusCode::BAD_REQUEST, "");
        }
        shared.given += 1;
        let token = format!("token-{}", shared.given);
        shared.tokens.insert(token.clone());
        return say(StatusCode::OK, &token);
    }
    let token = header("x-aws-ec2-metadata-token");
    if token.is_none_or(|token| !shared.tokens.contains(&token)) {
        return say(StatusCode::UNAUTHORIZED, "");
    }
    match path.strip_prefix("/latest/meta-data/") {
        Some("instance-type") => say(StatusCode::OK, "c7i.large"),
        Some("placement/region") => say(StatusCode::OK, "eu-west-1"),
        Some("spot/instance-action") => match shared.notice.clone() {
            Some(notice) => {
                shared.seen.get_or_insert_with(Instant::now);
                say(StatusCode::OK, &notice)
            }
            None => say(StatusCode::NOT_FOUND, ""),
        },
        Some("events/recommendations/rebalance") if shared.hinted => {
            say(StatusCode::OK, r#"{"noticeTime": "2026-01-01T00:00:00Z"}"#)
        }
        _ => say(StatusCode::NOT_FOUND, ""),
    }
}

/// A moment as `2017-09-18T08:22:00Z`.
fn show(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days, counted from March of the year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = match month < 10 {
        true => (era * 400 + year, month + 3),
        false => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::show;

    #[test]
    fn moments_are_shown_as_the_service_shows_them() {
        assert_eq!(show(0), "1970-01-01T00:00:00Z");
        assert_eq!(show(1_505_722_920), "2017-09-18T08:22:00Z");
        assert_eq!(show(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(show(1_709_251_200), "2024-03-01T00:00:00Z");
    }
}
