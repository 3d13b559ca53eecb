//! Finding and following the Leader.
//!
//! Any coordinator is asked first. One that does not lead names the one that does; one that does not answer makes room for
//! the next of the list.

use crate::Error;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

/// How long one that could not be reached is not asked while there are others.
const UNREACHED: Duration = Duration::from_secs(1);

/// The way to the Leader of one cluster. Cheap to clone; clones find and follow it together. Connections are made on first
/// use and again whenever they broke.
#[derive(Clone, Debug)]
pub struct Leader {
    /// As given, with scheme; never empty.
    endpoints: Arc<[String]>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Who is asked now: one of the list, or one that was named.
    current: String,
    /// Place in the list of the one to ask after this one.
    next: usize,
    /// When one could not be reached the last time: the others may name it as Leader for a while.
    unreached: HashMap<String, Instant>,
    channels: HashMap<String, Channel>,
}

impl Leader {
    /// Prepares to talk to the cluster of the coordinators at `addresses`: one such as `http://127.0.0.1:7420`, or several
    /// with commas between; `HOST:PORT` is taken too. Does not connect yet.
    /// # Errors
    /// [`Error::Address`].
    /// # Panics
    /// Outside a tokio runtime.
    pub fn at(addresses: &str) -> Result<Self, Error> {
        let endpoints = addresses
            .split(',')
            .map(|address| endpoint(address.trim()))
            .collect::<Result<Arc<[String]>, Error>>()?;
        let first = endpoints[0].clone();
        let channel = connect(&first)?;
        Ok(Self {
            state: Arc::new(Mutex::new(State {
                current: first.clone(),
                next: 1 % endpoints.len(),
                unreached: HashMap::new(),
                channels: HashMap::from([(first, channel)]),
            })),
            endpoints,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics with it")
    }

    /// Who is asked now.
    pub fn endpoint(&self) -> String {
        self.state().current.clone()
    }

    pub(crate) fn channel(&self) -> Channel {
        let mut state = self.state();
        let current = state.current.clone();
        if let Some(channel) = state.channels.get(&current) {
            return channel.clone();
        }
        let channel = connect(&current).expect("it was checked before it became the current one");
        state.channels.insert(current, channel.clone());
        channel
    }

    /// One call of whoever is asked now, with a deadline.
    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        let asked = self.endpoint();
        let answer = tokio::time::timeout(limit, call)
            .await
            .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "no answer in time")));
        answer
            .map(Response::into_inner)
            .map_err(|status| self.heard(&asked, status))
    }

    /// Makes an error of what `asked` answered, and turns to another coordinator where that may help.
    pub(crate) fn heard(&self, asked: &str, status: Status) -> Error {
        self.turn(asked, &status);
        Error::from_status(asked, status)
    }

    /// The stream that `asked` had open has ended too early.
    pub(crate) fn lost(&self, asked: &str, what: &str) -> Error {
        let status = Status::unavailable(what);
        self.heard(asked, status)
    }

    fn turn(&self, asked: &str, status: &Status) {
        let mut state = self.state();
        if state.current != asked {
            // A clone has turned already.
            return;
        }
        let transport = std::error::Error::source(status).is_some();
        state.unreached.retain(|_, at| at.elapsed() < UNREACHED);
        if transport {
            state.unreached.insert(asked.to_owned(), Instant::now());
        }
        let named = recode_proto::convert::status::leader_of(status)
            .and_then(|leader| endpoint(leader).ok())
            .filter(|leader| leader != asked && !state.unreached.contains_key(leader));
        match (named, status.code()) {
            (Some(named), _) => state.current = named,
            (None, Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded) => {
                self.ask_next(&mut state);
            }
            (None, Code::Unknown) if transport => self.ask_next(&mut state),
            (None, _) => {}
        }
    }

    /// Turns to the next of the list that was not found unreachable just now, or simply to the next.
    fn ask_next(&self, state: &mut State) {
        let count = self.endpoints.len();
        let round = (0..count).map(|step| (state.next + step) % count);
        let reached = |place: &usize| !state.unreached.contains_key(&self.endpoints[*place]);
        let place = round.clone().find(reached).unwrap_or(state.next);
        state.current = self.endpoints[place].clone();
        state.next = (place + 1) % count;
    }
}

/// An address as people write it, with scheme.
fn endpoint(address: &str) -> Result<String, Error> {
    let with_scheme = if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    };
    connect_options(&with_scheme).ok_or_else(|| Error::Address(address.to_owned()))?;
    Ok(with_scheme)
}

fn connect_options(with_scheme: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(with_scheme.to_owned()).ok()?;
    let uri = endpoint.uri();
    if uri.scheme_str() != Some("http") || uri.host().is_none() || uri.port().is_none() {
        return None;
    }
    // Pings keep a dead peer from being waited for: 10 s + 5 s, as among our own processes only.
    Some(
        endpoint
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true),
    )
}

fn connect(with_scheme: &str) -> Result<Channel, Error> {
    let endpoint =
        connect_options(with_scheme).ok_or_else(|| Error::Address(with_scheme.to_owned()))?;
    Ok(endpoint.connect_lazy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_leader_that_is_named_is_followed_and_silence_makes_room_for_the_next() {
        let leader = Leader::at("a:1,b:1").unwrap();
        assert_eq!(leader.endpoint(), "http://a:1");
        let named = recode_proto::convert::status::not_leading(Some("c:1"));
        assert!(leader.heard("http://a:1", named.clone()).may_retry());
        assert_eq!(leader.endpoint(), "http://c:1");
        // A late answer to an earlier question changes nothing.
        leader.heard("http://a:1", named);
        assert_eq!(leader.endpoint(), "http://c:1");
        for next in ["http://b:1", "http://a:1", "http://b:1"] {
            let asked = leader.endpoint();
            leader.lost(&asked, "it ended");
            assert_eq!(leader.endpoint(), next);
        }
        let asked = leader.endpoint();
        leader.heard(&asked, Status::not_found("no such job"));
        assert_eq!(leader.endpoint(), "http://b:1");
    }

    #[tokio::test]
    async fn one_that_is_gone_is_not_asked_again_at_once_whoever_names_it() {
        let leader = Leader::at("a:1,b:1,c:1").unwrap();
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let gone = Status::from_error(Box::new(refused));
        leader.heard("http://a:1", gone.clone());
        let named = recode_proto::convert::status::not_leading(Some("a:1"));
        for next in ["http://b:1", "http://c:1", "http://b:1"] {
            let asked = leader.endpoint();
            assert_eq!(asked, next);
            leader.heard(&asked, named.clone());
        }
        // Where nobody is reached there is nobody better.
        for _ in 0..6 {
            leader.heard(&leader.endpoint(), gone.clone());
        }
        assert!(leader.state().unreached.len() == 3);
    }

    #[tokio::test]
    async fn addresses_are_read_as_people_write_them() {
        assert_eq!(
            Leader::at("127.0.0.1:7420").unwrap().endpoint(),
            "http://127.0.0.1:7420"
        );
        assert!(Leader::at("http://[::1]:7420").is_ok());
        for bad in [
            "",
            "localhost",
            "https://h:1",
            "http://",
            "ftp://h:1",
            "h:port",
        ] {
            assert_eq!(
                Leader::at(bad).unwrap_err(),
                Error::Address(bad.to_owned()),
                "{bad}"
            );
        }
    }
}
