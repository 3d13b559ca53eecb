//! The protocol of NATS, as much as a plain subscriber and publisher need: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.

use anyhow::{Context as _, Result, bail};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A message that a subscriber has heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Where it was said.
    pub subject: String,
    /// Where answers are wanted.
    pub reply: Option<String>,
    /// What was said.
    pub payload: Vec<u8>,
}

/// A client that knows nothing of recode: what `nats sub` and `nats pub` would hear and say.
#[derive(Debug)]
pub struct Plain {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    subscriptions: u32,
}

impl Plain {
    /// Connects to the server at `address`.
    /// # Errors
    /// It is not there, or is no NATS server.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let writer = TcpStream::connect(address).with_context(|| format!("NATS at {address}"))?;
        writer.set_nodelay(true)?;
        let mut plain = Self {
            reader: BufReader::new(writer.try_clone()?),
            writer,
            subscriptions: 0,
        };
        plain
            .say(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":false}\r\nPING\r\n")?;
        let until = Instant::now() + Duration::from_secs(5);
        while plain.line(until)?.context("it does not answer")? != "PONG" {}
        Ok(plain)
    }

    fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes)
    }

    /// Hears what is said on `subject`, which may have wildcards, from when this returns on.
    /// # Errors
    /// The connection is broken.
    pub fn subscribe(&mut self, subject: &str) -> Result<()> {
        self.subscriptions += 1;
        let line = format!("SUB {subject} {}\r\n", self.subscriptions);
        self.say(line.as_bytes())?;
        // What another connection says after the answer comes here; messages before it would be lost, and there are none.
        self.say(b"PING\r\n")?;
        let until = Instant::now() + Duration::from_secs(5);
        while self.line(until)?.context("it does not answer")? != "PONG" {}
        Ok(())
    }

    /// Says `payload` on `subject`.
    /// # Errors
    /// The connection is broken.
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> io::Result<()> {
        let mut bytes = format!("PUB {subject} {}\r\n", payload.len()).into_bytes();
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        self.say(&bytes)
    }

    /// The next message; `None`: there is none within `patience`.
    /// # Errors
    /// The connection is broken.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Heard>> {
        let until = Instant::now() + patience;
        while let Some(line) = self.line(until)? {
            if line == "PING" {
                self.say(b"PONG\r\n")?;
                continue;
            }
            let Some(head) = line.strip_prefix("MSG ") else {
                continue;
            };
            let head = Head::read(head).with_context(|| format!("not a message: {line}"))?;
            // The rest of a message is never far behind its head.
            self.reader.get_ref().set_read_timeout(None)?;
            let mut payload = vec![0; head.bytes + 2];
            self.reader.read_exact(&mut payload)?;
            payload.truncate(head.bytes);
            return Ok(Some(Heard {
                subject: head.subject,
                reply: head.reply,
                payload,
            }));
        }
        Ok(None)
    }

    /// One line without its end; `None`: there is none until then.
    fn line(&mut self, until: Instant) -> Result<Option<String>> {
        let mut line = String::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.reader.get_ref().set_read_timeout(Some(left))?;
            match self.reader.read_line(&mut line) {
                Ok(0) => bail!("the NATS server has hung up"),
                Ok(_) => return Ok(Some(line.trim_end().to_owned())),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What the first line of a message says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) subject: String,
    pub(super) reply: Option<String>,
    pub(super) bytes: usize,
}

impl Head {
    /// Reads what follows `MSG ` or `HMSG `. The last number is all that comes after the line, less its own end.
    pub(super) fn bytes_after(line: &str) -> Option<usize> {
        line.split_whitespace().last()?.parse().ok()
    }

    /// Reads what follows `MSG `: subject, number of the subscription, where to answer, bytes.
    pub(super) fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (subject, reply, bytes) = match words.as_slice() {
            [subject, _, bytes] => (subject, None, bytes),
            [subject, _, reply, bytes] => (subject, Some((*reply).to_owned()), bytes),
            _ => return None,
        };
        Some(Self {
            subject: (*subject).to_owned(),
            reply,
            bytes: bytes.parse().ok()?,
        })
    }
}
