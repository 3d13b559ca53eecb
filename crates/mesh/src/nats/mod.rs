//! NATS: the way of reports and orders for a site that reaches nothing else.
//!
//! Core NATS only, at most once: what counts is numbered, answered and said again here, so that loss, copies, another order
//! and garbage change nothing but the time it takes.
//!
//! ```text
//!   frame.rs      payloads: checksum, parts           sessions.rs   what the Leader knows of its exchanges, pure
//!   inbox.rs      orders in their order, pure         reception.rs  the Leader's side     exchange.rs  the node's side
//!   events.rs     the event feed, said and heard      bell.rs       "work is waiting"
//! ```

mod bell;
pub mod events;
pub(crate) mod exchange;
mod frame;
mod inbox;
pub mod reception;
mod sessions;

pub use bell::Bell;

use crate::Error;
use crate::subjects::Subjects;
use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::watch;

/// How long a payload may wait for room on its way to the server.
const SAYING: Duration = Duration::from_secs(2);

/// How long a connection that is being made is waited for.
const SOON: Duration = Duration::from_secs(1);

/// Messages that wait for one of our subscribers; more are dropped, which all of them bear.
const WAITING: usize = 1024;

/// What is said where no server is there.
const UNREACHED: &str = "no NATS server is reached; check address and password, or start it";

/// Which servers, and whose subjects.
#[derive(Clone, Debug)]
pub struct Settings {
    servers: Vec<ServerAddr>,
    subjects: Subjects,
}

impl Settings {
    /// `urls`: servers of one NATS cluster, such as `nats://127.0.0.1:4222`; `cluster`: the name of the recode cluster there.
    /// # Errors
    /// [`Error::Nats`]: a URL is none, or there is none; [`Error::Invalid`]: the name cannot be part of a subject.
    pub fn new(urls: &[String], cluster: &str) -> Result<Self, Error> {
        let subjects = cluster
            .parse()
            .map_err(|e| Error::Invalid(format!("{e}")))?;
        let servers: Vec<ServerAddr> = urls
            .iter()
            .map(|url| server(url))
            .collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(Error::Nats(String::new()));
        }
        Ok(Self { servers, subjects })
    }

    /// User and password, or a token alone, of the first URL that has one. All servers of a NATS cluster take the same.
    fn login(&self) -> Option<(String, Option<String>)> {
        let named = |server: &ServerAddr| {
            let user = plain(server.username()?)?;
            Some((user, server.password().and_then(plain)))
        };
        self.servers.iter().find_map(named)
    }

    /// The servers as people may see them: without passwords.
    pub fn at(&self) -> String {
        let shown = self.servers.iter().map(|server| {
            let host = server.host();
            match host.contains(':') {
                true => format!("{}://[{host}]:{}", server.scheme(), server.port()),
                false => format!("{}://{host}:{}", server.scheme(), server.port()),
            }
        });
        shown.collect::<Vec<_>>().join(",")
    }
}

/// What stands in a URL for bytes that it cannot hold; `None`: it stands for none.
fn plain(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(plain).ok()
}

fn server(url: &str) -> Result<ServerAddr, Error> {
    let bad = || Error::Nats(url.to_owned());
    let server: ServerAddr = url.parse().map_err(|_| bad())?;
    let fits = matches!(server.scheme(), "nats" | "tls") && !server.host().is_empty();
    fits.then_some(server).ok_or_else(bad)
}

/// A connection to NATS that is made, and made again, by itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Nats {
    client: Client,
    subjects: Subjects,
    at: String,
    connected: watch::Receiver<bool>,
}

impl Nats {
    /// Begins to connect; a server that is not there is tried until it is. `name` is what the server shows for it.
    /// # Errors
    /// [`Error::Unavailable`]: the connection cannot even be tried, as without the system's certificates for `tls://`.
    pub async fn connect(settings: &Settings, name: &str) -> Result<Self, Error> {
        let at = settings.at();
        let told = at.clone();
        let (tell, connected) = watch::channel(false);
        let options = ConnectOptions::new()
            .name(name)
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|tries| {
                Duration::from_millis(50 << tries.min(6)).min(Duration::from_secs(2))
            })
            .connection_timeout(Duration::from_secs(5))
            // Twice as long without an answer, and the connection counts as broken.
            .ping_interval(Duration::from_secs(5))
            .request_timeout(Some(SAYING))
            .subscription_capacity(WAITING)
            .client_capacity(256)
            .event_callback(move |event| {
                let at = told.clone();
                match event {
                    Event::Connected => drop(tell.send_replace(true)),
                    Event::Disconnected | Event::Closed => drop(tell.send_replace(false)),
                    _ => {}
                }
                async move {
                    match event {
                        Event::Connected => tracing::info!(at, "connected with NATS"),
                        Event::Disconnected => tracing::info!(at, "the connection with NATS broke"),
                        // One for each message that is dropped: a flood would flood the log too.
                        Event::SlowConsumer(_) => tracing::trace!(at, "NATS is faster than we are"),
                        other => tracing::debug!(at, %other, "NATS"),
                    }
                }
            });
        let options = match settings.login() {
            None => options,
            Some((token, None)) => options.token(token),
            Some((user, Some(password))) => options.user_and_password(user, password),
        };
        let client = options
            .connect(settings.servers.as_slice())
            .await
            .map_err(|error| Error::Unavailable {
                endpoint: at.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            client,
            subjects: settings.subjects.clone(),
            at,
            connected,
        })
    }

    /// Whether a server is there now, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// As [`Nats::is_connected`], after a moment where a connection is being made.
    async fn is_connected_soon(&self) -> bool {
        if !self.is_connected() {
            // It is done when a server has everything that was said before; whether that is so is asked below.
            let _ = tokio::time::timeout(SOON, self.client.flush()).await;
        }
        self.is_connected()
    }

    /// Says it, where a server is there; nothing waits for one. `false`: it was not said. `true`: it may be lost all the same.
    async fn say(&self, subject: String, reply: Option<String>, payload: Bytes) -> bool {
        if !self.is_connected() {
            return false;
        }
        let saying = async {
            match reply {
                Some(reply) => {
                    self.client
                        .publish_with_reply(subject, reply, payload)
                        .await
                }
                None => self.client.publish(subject, payload).await,
            }
        };
        let said = tokio::time::timeout(SAYING, saying).await;
        said.is_ok_and(|said| said.is_ok())
    }

    fn part_bytes(&self) -> usize {
        frame::part_bytes(self.client.max_payload())
    }

    pub(crate) fn unavailable(&self, reason: impl Into<String>) -> Error {
        Error::Unavailable {
            endpoint: self.at.clone(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(urls: &[&str]) -> Result<Settings, Error> {
        let urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
        Settings::new(&urls, "main")
    }

    #[test]
    fn servers_are_named_as_people_do_and_passwords_are_not_shown() {
        let at = |urls| settings(urls).unwrap().at();
        assert_eq!(at(&["10.0.0.1"]), "nats://10.0.0.1:4222");
        assert_eq!(
            at(&["nats://me:secret@a:1", "tls://[::1]:2"]),
            "nats://a:1,tls://[::1]:2"
        );
        let login = |url| settings(&["b", url]).unwrap().login();
        assert_eq!(
            login("nats://me:a%2Fb%20c@a:1"),
            Some(("me".into(), Some("a/b c".into())))
        );
        assert_eq!(login("nats://token@a:1"), Some(("token".into(), None)));
        assert_eq!(login("nats://a:1"), None);
        for bad in ["", "http://a:1", "ws://a:1", "nats://", "nats://a:port"] {
            assert_eq!(
                settings(&[bad]).unwrap_err(),
                Error::Nats(bad.into()),
                "{bad}"
            );
        }
        assert!(settings(&[]).is_err());
        assert!(Settings::new(&["a".to_owned()], "a.b").is_err());
    }
}
