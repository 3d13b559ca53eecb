//! Finding and following the Leader. With one coordinator the Leader is whoever listens at the address.

use crate::Error;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// A connection to the Leader. Cheap to clone; it connects on first use and again whenever the connection broke.
#[derive(Clone, Debug)]
pub struct Leader {
    endpoint: String,
    channel: Channel,
}

impl Leader {
    /// Prepares to talk to the coordinator at `address`, such as `http://127.0.0.1:7420`; `HOST:PORT` is taken too.
    /// Does not connect yet.
    /// # Errors
    /// [`Error::Address`].
    /// # Panics
    /// Outside a tokio runtime.
    pub fn at(address: &str) -> Result<Self, Error> {
        let bad = || Error::Address(address.to_owned());
        let with_scheme = if address.contains("://") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let endpoint = Endpoint::from_shared(with_scheme.clone()).map_err(|_| bad())?;
        let uri = endpoint.uri();
        if uri.scheme_str() != Some("http") || uri.host().is_none() || uri.port().is_none() {
            return Err(bad());
        }
        // Pings keep a dead peer from being waited for: 10 s + 5 s, as among our own processes only.
        let channel = endpoint
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .connect_lazy();
        Ok(Self {
            endpoint: with_scheme,
            channel,
        })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
