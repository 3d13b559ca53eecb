//! Whether what this machine has is enough. Pure.

use crate::trial::Proof;
use crate::{Layer, Layers};
use std::fmt::Write as _;
use std::str::FromStr;

/// What to do where a part of the sandbox cannot be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Refuse to run FFmpeg at all without Landlock and seccomp. Namespaces: where this user is allowed any.
    #[default]
    Require,
    /// Use what can be had, and say what is missing.
    Prefer,
    /// Use none of it: resource limits and a process group only.
    Off,
}

/// Layers without which strangers' files are not safe to touch: files, and sockets with processes. Many systems and most
/// containers allow no namespaces to ordinary users; these two hold alone.
const REQUIRED: [Layer; 2] = [Layer::Landlock, Layer::Seccomp];

/// What a [`Policy`] makes of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What every child is held back by.
    pub layers: Layers,
    /// What to tell the user, once.
    pub warning: Option<String>,
}

impl Policy {
    /// As in flags.
    pub fn name(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Prefer => "prefer",
            Self::Off => "off",
        }
    }

    /// Decides. `proof`: what the machine showed, or why it could not be asked.
    /// # Errors
    /// Under [`Policy::Require`]: what is missing and what to do about it, as a sentence.
    pub fn decide(self, proof: &Result<Proof, String>) -> Result<Decision, String> {
        let missing = match (self, proof) {
            (Self::Off, _) => return Ok(Decision::default()),
            (_, Err(reason)) => reason.clone(),
            (_, Ok(proof)) => match proof.lacks(&REQUIRED) {
                None => {
                    return Ok(Decision {
                        layers: proof.layers(),
                        warning: None,
                    });
                }
                Some(missing) => missing,
            },
        };
        match self {
            Self::Require => Err(format!(
                "FFmpeg cannot be confined: {missing}; {}",
                remedy(proof)
            )),
            _ => Ok(Decision {
                layers: proof.as_ref().map(Proof::layers).unwrap_or_default(),
                warning: Some(format!(
                    "FFmpeg is not fully confined: {missing}; do not open files of strangers, or {}",
                    first_remedy(proof)
                )),
            }),
        }
    }
}

fn first_remedy(proof: &Result<Proof, String>) -> &'static str {
    match proof {
        Err(_) => {
            "put the program recode-sandbox beside this one or name it in RECODE_SANDBOX_HELPER"
        }
        Ok(_) => {
            "use a kernel with Landlock (5.13 or later, with landlock among its lsm=) and a container that allows it and seccomp"
        }
    }
}

fn remedy(proof: &Result<Proof, String>) -> String {
    let mut said = first_remedy(proof).to_owned();
    let _ = write!(
        said,
        ", or start with --sandbox prefer where only your own files are read"
    );
    said
}

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no policy; choose require, prefer or off")]
pub struct Unknown(String);

impl FromStr for Policy {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        let all = [Self::Require, Self::Prefer, Self::Off];
        let found = all.into_iter().find(|policy| policy.name() == name);
        found.ok_or_else(|| Unknown(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(lines: &str) -> Result<Proof, String> {
        Ok(Proof::parse(lines).unwrap())
    }

    const ALL: &str = "mount ok\npid ok\nnetwork ok\nlandlock ok\nseccomp ok\ntogether ok\n";

    #[test]
    fn a_machine_that_has_everything_uses_everything() {
        for policy in [Policy::Require, Policy::Prefer] {
            let decision = policy.decide(&proof(ALL)).unwrap();
            assert_eq!(decision.layers, Layer::ALL.into());
            assert_eq!(decision.warning, None);
        }
        let off = Policy::Off.decide(&proof(ALL)).unwrap();
        assert_eq!(off, Decision::default());
    }

    #[test]
    fn namespaces_are_taken_where_they_are_allowed() {
        let container = ALL
            .replace("mount ok", "mount no EPERM")
            .replace("network ok", "network no EPERM");
        let decision = Policy::Require.decide(&proof(&container)).unwrap();
        let layers = [Layer::Pid, Layer::Landlock, Layer::Seccomp];
        assert_eq!(decision.layers, layers.into());
    }

    #[test]
    fn what_is_required_and_missing_is_named_with_a_remedy() {
        let old = ALL.replace("landlock ok", "landlock no Operation not supported");
        let said = Policy::Require.decide(&proof(&old)).unwrap_err();
        assert!(
            said.contains("Landlock (Operation not supported)") && said.contains("5.13"),
            "{said}"
        );
        assert!(said.contains("--sandbox prefer"), "{said}");
        let decision = Policy::Prefer.decide(&proof(&old)).unwrap();
        assert_eq!(decision.layers.len(), 4);
        assert!(decision.warning.unwrap().contains("Landlock"));
        let leak = ALL.replace("together ok", "together no a file could be read");
        let said = Policy::Require.decide(&proof(&leak)).unwrap_err();
        assert!(said.contains("a file could be read"), "{said}");
        let said = Policy::Require.decide(&Err("there is no helper".into()));
        assert!(said.unwrap_err().contains("RECODE_SANDBOX_HELPER"));
        let decision = Policy::Prefer.decide(&Err("there is no helper".into()));
        assert!(decision.unwrap().warning.unwrap().contains("no helper"));
    }

    #[test]
    fn policies_are_read_by_name() {
        for policy in [Policy::Require, Policy::Prefer, Policy::Off] {
            assert_eq!(policy.name().parse(), Ok(policy));
        }
        let said = "on".parse::<Policy>().unwrap_err().to_string();
        assert_eq!(said, "\"on\" is no policy; choose require, prefer or off");
    }
}
