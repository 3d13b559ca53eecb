//! The inputs of a `submit`: as named, and all videos below an `s3://` prefix.

use crate::bars;
use crate::fault::Fault;
use crate::place::{Place, Use};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path as Key;
use object_store::{BackoffConfig, ClientOptions, ObjectStore as _, RetryConfig};
use recode_store::WorkStore;
use std::path::Path;
use std::time::Duration;
use tokio_stream::StreamExt as _;

/// Endings of names that say that an object is a video. FFmpeg reads more; those are named one by one.
const VIDEOS: &[&str] = &[
    "3gp", "asf", "avi", "dv", "flv", "h264", "h265", "hevc", "ivf", "m2t", "m2ts", "m4v", "mkv",
    "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "ts", "vob", "webm", "wmv", "y4m",
];

/// One input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where it is.
    pub place: Place,
    /// What names of outputs follow from: its name, with its folders below the prefix that was named.
    pub path: String,
}

impl Input {
    /// An input that was named itself.
    pub fn named(place: Place) -> Self {
        let path = match &place.path {
            Some(path) => path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into(),
            None => name_in_url(&place.url),
        };
        Self { place, path }
    }
}

/// The last part of a URL, as people know it.
fn name_in_url(url: &str) -> String {
    match recode_store::Location::parse(url) {
        Ok(location) => location.file_name().unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// Whether `typed` stands for everything below a prefix.
pub fn is_prefix(typed: &str) -> bool {
    let s3 = typed
        .get(..5)
        .is_some_and(|s| s.eq_ignore_ascii_case("s3://"));
    s3 && typed.ends_with('/')
}

/// The inputs that `typed` stands for, in order.
/// # Errors
/// A place cannot be one; a prefix cannot be listed, or holds no video.
pub async fn read(typed: &[String], cwd: &Path) -> Result<Vec<Input>, Fault> {
    let mut inputs = Vec::new();
    for typed in typed {
        if is_prefix(typed) {
            inputs.extend(below(typed).await?);
        } else {
            inputs.push(Input::named(Place::parse(typed, cwd, Use::Read)?));
        }
    }
    Ok(inputs)
}

/// All videos below a prefix.
async fn below(typed: &str) -> Result<Vec<Input>, Fault> {
    let (bucket, prefix) = typed[5..].split_once('/').unwrap_or_default();
    if bucket.is_empty() {
        return Err(Fault::input(format!(
            "{typed} names no bucket; write s3://bucket/prefix/"
        )));
    }
    // Opening a store asks nobody yet: it refuses settings that cannot work, in words of their own.
    let opened = WorkStore::open(&format!("s3://{bucket}")).await;
    opened.map_err(|e| Fault::environment(e.to_string()))?;
    let listed = list(&client(bucket)?, prefix).await;
    let mut keys = listed.map_err(|e| refused(typed, bucket, &e))?;
    keys.sort_unstable();
    let (videos, others): (Vec<String>, Vec<String>) =
        keys.into_iter().partition(|key| is_video(key));
    if videos.is_empty() {
        return Err(Fault::input(match others.first() {
            None => {
                format!("{typed} is empty; check the prefix, whose last part is a whole folder")
            }
            Some(first) => format!(
                "{typed} holds no video, only {} such as s3://{bucket}/{first}; name an object itself where its name has another ending",
                count(others.len(), "object")
            ),
        }));
    }
    if let Some(first) = others.first() {
        bars::line(&format!(
            "recode-client: warning: {} below {typed} {} left out, such as s3://{bucket}/{first}: by its name it is no video",
            count(others.len(), "object"),
            if others.len() == 1 { "is" } else { "are" },
        ));
    }
    let input = |key: String| Input {
        path: key[prefix.len()..].to_owned(),
        place: Place {
            typed: format!("s3://{bucket}/{key}"),
            url: format!("s3://{bucket}/{key}"),
            path: None,
        },
    };
    Ok(videos.into_iter().map(input).collect())
}

fn is_video(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or(key);
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    ending.is_some_and(|ending| {
        VIDEOS
            .iter()
            .any(|video| video.eq_ignore_ascii_case(ending))
    })
}

/// `1 object`, `2 objects`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

async fn list(store: &AmazonS3, prefix: &str) -> Result<Vec<String>, object_store::Error> {
    let below = Key::from(prefix.trim_end_matches('/'));
    let mut objects = store.list((!prefix.is_empty()).then_some(&below));
    let mut keys = Vec::new();
    while let Some(object) = objects.next().await {
        keys.push(object?.location.to_string());
    }
    Ok(keys)
}

/// A client for one bucket, from the environment.
fn client(bucket: &str) -> Result<AmazonS3, Fault> {
    let plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_client_options(
            ClientOptions::new()
                .with_connect_timeout(Duration::from_secs(4))
                .with_timeout(Duration::from_secs(30))
                .with_allow_http(plain),
        )
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 3,
            retry_timeout: Duration::from_secs(8),
        })
        .build()
        .map_err(|e| {
            Fault::environment(format!(
                "the S3 settings for bucket \"{bucket}\" cannot be used: {e}; check AWS_ENDPOINT_URL, AWS_REGION and the AWS keys"
            ))
        })
}

/// Why a prefix cannot be listed.
fn refused(typed: &str, bucket: &str, error: &object_store::Error) -> Fault {
    let mut causes = vec![error.to_string()];
    let mut at: &dyn std::error::Error = error;
    while let Some(cause) = at.source() {
        causes.push(cause.to_string());
        at = cause;
    }
    let said = |part: &str| causes.iter().any(|cause| cause.contains(part));
    if said("169.254.169.254") || said("latest/api/token") {
        return Fault::input(format!(
            "{typed} cannot be listed, since no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (aws \
             configure export-credentials --format env), or AWS_SKIP_SIGNATURE=true for a public bucket"
        ));
    }
    // Lists are answered without a kind of error of their own.
    if said("403 Forbidden") || said("401 Unauthorized") {
        return Fault::input(format!(
            "{typed} may not be listed with the AWS keys in use; they need the right s3:ListBucket, or name its objects one by one"
        ));
    }
    if said("NoSuchBucket") {
        return Fault::input(format!(
            "the bucket s3://{bucket} does not exist; check its name, AWS_REGION and AWS_ENDPOINT_URL"
        ));
    }
    let last = causes.last().map(String::as_str).unwrap_or_default();
    let last = last.split(" (os error").next().unwrap_or_default();
    let last = last.split(": <").next().unwrap_or_default();
    Fault::environment(format!(
        "{typed} cannot be listed: {last}; check the address and the network, then try again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_and_videos_are_known_by_their_names() {
        assert!(is_prefix("s3://b/") && is_prefix("S3://b/a/"));
        assert!(!is_prefix("s3://b/a") && !is_prefix("/a/"));
        assert!(is_video("a/b.MOV") && is_video("b.m2ts"));
        assert!(!is_video("a.mov/b") && !is_video("mov") && !is_video("b.srt"));
    }

    #[test]
    fn an_input_that_is_named_gives_its_own_name() {
        let cwd = Path::new("/w");
        for (typed, expected) in [
            ("a/film.mov", "film.mov"),
            ("file:///a/my%20film.mov", "my film.mov"),
            ("s3://b/a/my%20film.mov", "my%20film.mov"),
            ("https://h/a/my%20film.mov?x=1", "my film.mov"),
        ] {
            let place = Place::parse(typed, cwd, Use::Read).unwrap();
            assert_eq!(Input::named(place).path, expected, "{typed}");
        }
    }
}
