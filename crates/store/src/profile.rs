//! Settings and credentials of `~/.aws/config` and `~/.aws/credentials`, which `object_store` does not read.
//!
//! Only what is written in the files counts: keys, session token, region and endpoint. Profiles that have to run a
//! program or ask a sign-on service are named in an error instead of being passed over in silence.

use crate::error::Error;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What one profile says about S3.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) access_key_id: Option<String>,
    pub(crate) secret_access_key: Option<String>,
    pub(crate) session_token: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) endpoint_url: Option<String>,
}

type Sections = BTreeMap<String, BTreeMap<String, String>>;

impl Profile {
    /// The profile the environment asks for (`AWS_PROFILE`, else `default`), from the files the environment names.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `AWS_PROFILE` names a profile that no file has, or one we cannot use.
    pub(crate) fn from_environment() -> Result<Self, Error> {
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let file = |name: &str, ending: &str| {
            let path = variable(name).map(PathBuf::from).or_else(|| {
                variable("HOME").map(|home| PathBuf::from(home).join(".aws").join(ending))
            })?;
            std::fs::read_to_string(path).ok()
        };
        Self::choose(
            &file("AWS_CONFIG_FILE", "config").unwrap_or_default(),
            &file("AWS_SHARED_CREDENTIALS_FILE", "credentials").unwrap_or_default(),
            variable("AWS_PROFILE").as_deref(),
        )
    }

    /// Picks a profile out of the text of both files. Credentials come before config, as in the AWS tools.
    fn choose(config: &str, credentials: &str, wanted: Option<&str>) -> Result<Self, Error> {
        let config = sections(config);
        let credentials = sections(credentials);
        let name = wanted.unwrap_or("default");
        let in_config = config
            .get(&format!("profile {name}"))
            .or_else(|| config.get(name));
        let in_credentials = credentials.get(name);
        if wanted.is_some() && in_config.is_none() && in_credentials.is_none() {
            return Err(Error::Invalid(format!(
                "profile \"{name}\" of AWS_PROFILE is in neither ~/.aws/config nor ~/.aws/credentials; add it or unset AWS_PROFILE"
            )));
        }
        let get = |key: &str| {
            [in_credentials, in_config]
                .into_iter()
                .flatten()
                .find_map(|section| section.get(key))
                .cloned()
        };
        let profile = Self {
            access_key_id: get("aws_access_key_id"),
            secret_access_key: get("aws_secret_access_key"),
            session_token: get("aws_session_token"),
            region: get("region"),
            endpoint_url: get("s3.endpoint_url")
                .or_else(|| {
                    let services = config.get(&format!("services {}", get("services")?))?;
                    services.get("s3.endpoint_url").cloned()
                })
                .or_else(|| get("endpoint_url")),
        };
        let indirect = [
            "sso_session",
            "sso_start_url",
            "credential_process",
            "role_arn",
        ];
        if profile.access_key_id.is_none()
            && let Some(how) = indirect.iter().find(|how| get(how).is_some())
        {
            return Err(Error::Invalid(format!(
                "profile \"{name}\" of ~/.aws takes its credentials from {how}, which is not supported; put AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN into the environment (aws configure export-credentials --format env)"
            )));
        }
        Ok(profile)
    }
}

/// The INI dialect of the AWS tools: `[section]`, `key = value`, comments with `#` or `;` at the start of a line or after
/// white space, and one level of nesting by indentation, flattened here to `outer.inner`.
fn sections(text: &str) -> Sections {
    let mut found = Sections::new();
    let mut section = None;
    let mut outer: Option<String> = None;
    for line in text.lines() {
        let line = strip_comment(line);
        let nested = line.starts_with([' ', '\t']);
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
            found.entry(name.clone()).or_default();
            section = Some(name);
            outer = None;
            continue;
        }
        let (Some(section), Some((key, value))) = (&section, line.split_once('=')) else {
            continue;
        };
        let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
        let key = match (&outer, nested) {
            (Some(outer), true) => format!("{outer}.{key}"),
            _ => {
                outer = value.is_empty().then(|| key.clone());
                key
            }
        };
        if !value.is_empty()
            && let Some(entries) = found.get_mut(section)
        {
            entries.insert(key, value.to_owned());
        }
    }
    found
}

fn strip_comment(line: &str) -> &str {
    if line.trim_start().starts_with(['#', ';']) {
        return "";
    }
    let end = [" #", " ;", "\t#", "\t;"]
        .iter()
        .filter_map(|mark| line.find(mark))
        .min();
    end.map_or(line, |end| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "\
# the usual
[default]
region = eu-central-1 ; here

[profile  lab]
region=lab-1
services = own
s3 =
    addressing_style = path
[profile sso]
sso_session = office
[services own]
s3 =
  endpoint_url = http://127.0.0.1:9000
";
    const CREDENTIALS: &str = "\
[default]
aws_access_key_id = AKDEFAULT
aws_secret_access_key = a+b/c=#d
[lab]
AWS_ACCESS_KEY_ID=AKLAB
aws_secret_access_key=s
aws_session_token=t
";

    #[test]
    fn the_default_profile_joins_both_files() {
        let profile = Profile::choose(CONFIG, CREDENTIALS, None).unwrap();
        assert_eq!(profile.region.as_deref(), Some("eu-central-1"));
        assert_eq!(profile.access_key_id.as_deref(), Some("AKDEFAULT"));
        assert_eq!(profile.secret_access_key.as_deref(), Some("a+b/c=#d"));
        assert_eq!(profile.endpoint_url, None);
    }

    #[test]
    fn a_named_profile_follows_its_services_section() {
        let profile = Profile::choose(CONFIG, CREDENTIALS, Some("lab")).unwrap();
        assert_eq!(profile.access_key_id.as_deref(), Some("AKLAB"));
        assert_eq!(profile.session_token.as_deref(), Some("t"));
        assert_eq!(
            profile.endpoint_url.as_deref(),
            Some("http://127.0.0.1:9000")
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let missing = Profile::choose(CONFIG, CREDENTIALS, Some("nobody")).unwrap_err();
        assert!(missing.to_string().contains("\"nobody\""));
        let sso = Profile::choose(CONFIG, CREDENTIALS, Some("sso")).unwrap_err();
        assert!(sso.to_string().contains("sso_session"));
        assert_eq!(Profile::choose("", "", None).unwrap(), Profile::default());
        assert_eq!(
            Profile::choose("x=1\n[", "= [\n[]\n=", None).unwrap(),
            Profile::default()
        );
    }
}
