//! The instance metadata service of a machine that is lent: version 2 alone, which asks for a token first.
//!
//! One plain connection for each question, since there are few; no redirects and no proxy, since nobody but this machine's own
//! host may answer.
//!
//! # Source
//! "Use the Instance Metadata Service to access instance metadata" and "Spot Instance interruption notices", Amazon EC2 User Guide.

use http_body::Body as _;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpStream;

/// Where the service is on every machine that has one.
pub const USUAL: &str = "http://169.254.169.254";

/// How long looking for the service may take, all in all.
pub const DETECTION: Duration = Duration::from_secs(1);

/// How long one question may take afterwards.
const QUESTION: Duration = Duration::from_secs(2);

/// How long a token lasts. The service allows up to six hours.
const TOKEN_SECONDS: &str = "21600";

/// The longest answer that is read.
const MOST_BYTES: usize = 64 * 1024;

/// Where the service is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Metadata {
    /// It is not asked.
    #[default]
    Off,
    /// At [`USUAL`], if it is there.
    Auto,
    /// At this URL; also asked if it did not answer at first.
    At(String),
}

impl Metadata {
    /// Where to ask, if anybody is to be asked.
    pub fn url(&self) -> Option<&str> {
        match self {
            Metadata::Off => None,
            Metadata::Auto => Some(USUAL),
            Metadata::At(url) => Some(url),
        }
    }
}

/// A question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one.
    #[error(
        "{0} is not an address such as http://169.254.169.254: give --metadata a URL, auto or off"
    )]
    Address(String),
    /// Nobody answers there.
    #[error("the metadata service does not answer")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It takes too long.
    #[error("the metadata service did not answer in time")]
    TimedOut,
    /// It answers otherwise than it should.
    #[error("the metadata service answered {0}")]
    Status(StatusCode),
    /// What it says cannot be read.
    #[error("the metadata service said something that cannot be read")]
    Garbled,
}

/// Somebody who may answer.
#[derive(Clone, Debug)]
pub struct Service {
    host: String,
    token: Option<String>,
}

impl Service {
    /// One at `http://HOST[:PORT]`. Nothing is asked yet.
    /// # Errors
    /// [`Error::Address`].
    pub fn at(url: &str) -> Result<Self, Error> {
        let host = url
            .strip_prefix("http://")
            .unwrap_or("")
            .trim_end_matches('/');
        let uri: Result<hyper::Uri, _> = format!("http://{host}/").parse();
        let fits = uri.is_ok_and(|uri| uri.authority().is_some_and(|a| a.as_str() == host));
        if !fits || host.contains('@') {
            return Err(Error::Address(url.to_owned()));
        }
        Ok(Self {
            host: host.to_owned(),
            token: None,
        })
    }

    /// Whether it is there: asks for a token, for at most [`DETECTION`].
    /// # Errors
    /// It is not, or speaks another language.
    pub async fn detect(&mut self) -> Result<(), Error> {
        let asked = tokio::time::timeout(DETECTION, self.new_token());
        asked.await.map_err(|_| Error::TimedOut)?
    }

    /// What stands at `/latest/meta-data/` + `path`; `None`: nothing does.
    /// # Errors
    /// It may be asked again later.
    pub async fn get(&mut self, path: &str) -> Result<Option<String>, Error> {
        let asked = tokio::time::timeout(QUESTION, self.get_now(path));
        asked.await.map_err(|_| Error::TimedOut)?
    }

    async fn get_now(&mut self, path: &str) -> Result<Option<String>, Error> {
        for fresh in [false, true] {
            if fresh || self.token.is_none() {
                self.new_token().await?;
            }
            let token = self.token.as_deref().unwrap_or_default();
            let header = ("x-aws-ec2-metadata-token", token);
            let path = format!("/latest/meta-data/{path}");
            match self.ask(Method::GET, &path, header).await? {
                (StatusCode::OK, said) => return Ok(Some(said)),
                (StatusCode::NOT_FOUND, _) => return Ok(None),
                // Tokens end, also before their time.
                (StatusCode::UNAUTHORIZED, _) if !fresh => {}
                (status, _) => return Err(Error::Status(status)),
            }
        }
        Err(Error::Status(StatusCode::UNAUTHORIZED))
    }

    async fn new_token(&mut self) -> Result<(), Error> {
        self.token = None;
        let header = ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        match self.ask(Method::PUT, "/latest/api/token", header).await? {
            (StatusCode::OK, token) if is_token(&token) => {
                self.token = Some(token);
                Ok(())
            }
            (StatusCode::OK, _) => Err(Error::Garbled),
            (status, _) => Err(Error::Status(status)),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        (name, value): (&str, &str),
    ) -> Result<(StatusCode, String), Error> {
        let unreachable = |e: Box<dyn std::error::Error + Send + Sync>| Error::Unreachable(e);
        let address = match self.host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => self.host.clone(),
            _ => format!("{}:80", self.host),
        };
        let socket = TcpStream::connect(&address)
            .await
            .map_err(|e| unreachable(e.into()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket))
            .await
            .map_err(|e| unreachable(e.into()))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header(name, value)
            .body(String::new())
            .map_err(|_| Error::Garbled)?;
        let answered = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|e| unreachable(e.into()))?;
            let status = answer.status();
            Ok((status, text(answer.into_body()).await?))
        };
        // The connection lives as long as its one question.
        let mut connection = std::pin::pin!(connection);
        let mut answered = std::pin::pin!(answered);
        tokio::select! {
            done = &mut answered => done,
            ended = &mut connection => match ended {
                Ok(()) => answered.await,
                Err(e) => Err(unreachable(e.into())),
            },
        }
    }
}

/// What can be sent back as a header.
fn is_token(token: &str) -> bool {
    !token.is_empty() && token.len() <= 1024 && token.bytes().all(|b| b.is_ascii_graphic())
}

async fn text(mut body: hyper::body::Incoming) -> Result<String, Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|e| Error::Unreachable(e.into()))?;
        if let Ok(data) = frame.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > MOST_BYTES {
            return Err(Error::Garbled);
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::Garbled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_testkit::metadata::Metadata as Stub;
    use std::time::Instant;

    #[tokio::test]
    async fn what_is_there_is_read_with_a_token_and_what_is_not_is_none() {
        let stub = Stub::start().unwrap();
        let mut service = Service::at(&stub.url()).unwrap();
        service.detect().await.unwrap();
        let kind = service.get("instance-type").await.unwrap();
        assert_eq!(kind.as_deref(), Some("c7i.large"));
        assert_eq!(service.get("spot/instance-action").await.unwrap(), None);
        assert_eq!(stub.tokens(), 1, "one token is enough");
        // The stub answers 401 to whoever has none, or an old one.
        stub.forget_tokens();
        let region = service.get("placement/region").await.unwrap();
        assert_eq!(region.as_deref(), Some("eu-west-1"));
        assert_eq!(stub.tokens(), 2);
    }

    #[tokio::test]
    async fn looking_for_one_that_is_not_there_ends_within_a_second() {
        // A port where nobody listens, and one where somebody listens and says nothing.
        let refused = {
            let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap()
        };
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for address in [refused, silent.local_addr().unwrap()] {
            let mut service = Service::at(&format!("http://{address}")).unwrap();
            let started = Instant::now();
            assert!(service.detect().await.is_err());
            assert!(started.elapsed() < DETECTION + Duration::from_millis(500));
        }
    }

    #[test]
    fn an_address_is_one_or_is_refused_by_name() {
        for good in [
            "http://169.254.169.254",
            "http://127.0.0.1:80/",
            "http://[::1]:1",
        ] {
            assert!(Service::at(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "169.254.169.254",
            "https://a",
            "http://",
            "http://a/b",
            "http://a b",
            "http://u@h",
        ] {
            let error = Service::at(bad).unwrap_err().to_string();
            assert!(error.contains("--metadata"), "{error}");
        }
    }
}
