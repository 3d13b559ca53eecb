//! Builds the S3 client from the environment and the AWS profile. The only file that knows their settings.

use crate::budget::Budget;
use crate::error::Error;
use crate::profile::Profile;
use crate::transport::Paced;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey as Key};
use object_store::{Certificate, ClientOptions, RetryConfig};
use std::time::Duration;

/// What a client is used for decides how long silence is tolerated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Small requests, and bodies that should start to flow at once.
    Read,
    /// The answer comes only after a part of up to 8 MiB has left: 1 Mbit/s must still work.
    Write,
    /// As [`Use::Write`]; an upload is completed only where its key is free.
    Create,
}

/// A client for one bucket. Opens no connection.
pub(crate) fn client(bucket: &str, purpose: Use, budget: &Budget) -> Result<AmazonS3, Error> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let profile = Profile::from_environment()?;
    let named = std::env::var("AWS_PROFILE").is_ok_and(|p| !p.is_empty());
    let set = |builder: &AmazonS3Builder, key: Key| builder.get_config_value(&key).is_some();
    let in_environment = set(&builder, Key::AccessKeyId);
    // Keys travel together: half of them from one place and half from another never fit.
    if !in_environment || (named && std::env::var_os("AWS_ACCESS_KEY_ID").is_none()) {
        for (key, value) in [
            (Key::AccessKeyId, profile.access_key_id),
            (Key::SecretAccessKey, profile.secret_access_key),
            (Key::Token, profile.session_token),
        ] {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
    }
    if !set(&builder, Key::Region)
        && !set(&builder, Key::DefaultRegion)
        && let Some(region) = profile.region
    {
        builder = builder.with_region(region);
    }
    if !set(&builder, Key::Endpoint)
        && !set(&builder, Key::S3Endpoint)
        && let Some(endpoint) = profile.endpoint_url
    {
        builder = builder.with_endpoint(endpoint);
    }
    let endpoint = builder
        .get_config_value(&Key::S3Endpoint)
        .or_else(|| builder.get_config_value(&Key::Endpoint));
    check(&builder, endpoint.as_deref())?;
    // Whoever writes http:// into the endpoint has decided; a second switch only costs an hour of searching.
    let plain = endpoint
        .as_deref()
        .is_some_and(|e| e.starts_with("http://"));
    let silence = match purpose {
        Use::Read => Duration::from_secs(12),
        Use::Write | Use::Create => Duration::from_secs(120),
    };
    let mut options = ClientOptions::new()
        .with_connect_timeout(Duration::from_secs(4))
        .with_timeout_disabled()
        .with_read_timeout(silence)
        .with_allow_http(plain);
    for certificate in extra_certificates()? {
        options = options.with_root_certificate(certificate);
    }
    builder
        .with_client_options(options)
        // One layer tries again, and it is ours: it knows the budget of the bucket and what a write may have done.
        .with_retry(RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        })
        .with_http_connector(Paced {
            budget: budget.clone(),
            create_only: purpose == Use::Create,
        })
        // Some stores that call themselves S3 compatible lack the bulk call.
        .with_disable_bulk_delete(true)
        .build()
        .map_err(|e| {
            Error::Invalid(format!(
                "the S3 settings for bucket \"{bucket}\" cannot be used: {e}; check AWS_ENDPOINT_URL, AWS_REGION and the AWS keys"
            ))
        })
}

/// Refuses settings that the client would only stumble over later, or panic on.
fn check(builder: &AmazonS3Builder, endpoint: Option<&str>) -> Result<(), Error> {
    if let Some(endpoint) = endpoint {
        let parsed = url::Url::parse(endpoint).ok();
        let good = parsed.is_some_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.host_str().is_some()
        });
        if !good || endpoint.contains(char::is_whitespace) {
            return Err(Error::Invalid(format!(
                "the S3 endpoint \"{endpoint}\" is not a web address; write AWS_ENDPOINT_URL as http://host:port or https://host"
            )));
        }
    }
    let settings = [
        (Key::AccessKeyId, "the AWS access key"),
        (Key::SecretAccessKey, "the AWS secret key"),
        (Key::Token, "the AWS session token"),
        (Key::Region, "the AWS region"),
    ];
    for (key, name) in settings {
        let value = builder.get_config_value(&key).unwrap_or_default();
        if !value.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::Invalid(format!(
                "{name} holds spaces or characters that no such value has; set it again, without quotes or line ends"
            )));
        }
    }
    Ok(())
}

/// Certificates of `AWS_CA_BUNDLE`, which the AWS tools trust beside those of the system.
fn extra_certificates() -> Result<Vec<Certificate>, Error> {
    let Some(path) = std::env::var_os("AWS_CA_BUNDLE").filter(|p| !p.is_empty()) else {
        return Ok(Vec::new());
    };
    let path = std::path::Path::new(&path);
    let pem = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    Certificate::from_pem_bundle(&pem).map_err(|e| {
        Error::Invalid(format!(
            "\"{}\" of AWS_CA_BUNDLE holds no usable certificates: {e}; correct or unset it",
            path.display()
        ))
    })
}

/// Whether any source of credentials is configured. Without one only the metadata service of a cloud machine is left.
pub(crate) fn has_credentials() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    set("AWS_ACCESS_KEY_ID")
        || set("AWS_WEB_IDENTITY_TOKEN_FILE")
        || set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        || set("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        || Profile::from_environment().is_ok_and(|p| p.access_key_id.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named() {
        let refusal = |endpoint: Option<&str>, key: &str| {
            let builder = AmazonS3Builder::new().with_access_key_id(key);
            check(&builder, endpoint).err().map(|e| e.to_string())
        };
        for good in ["http://127.0.0.1:9000", "https://s3.example.com/"] {
            assert_eq!(refusal(Some(good), "AKIA"), None);
        }
        for bad in [
            "bogus",
            "localhost:9000",
            "ftp://x",
            "http://",
            "http://a b",
            "",
        ] {
            let refused = refusal(Some(bad), "AKIA").unwrap();
            assert!(refused.contains("AWS_ENDPOINT_URL"), "{refused}");
        }
        assert!(refusal(None, "AKIA\n").unwrap().contains("access key"));
    }
}
