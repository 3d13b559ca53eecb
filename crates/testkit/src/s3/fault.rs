//! What can go wrong with a request, and rules for when it does.
//!
//! As text a fault is a name, with a number behind `=` where it takes one; a rule is `WHICH[@KEY]:FAULT:PERCENT[xBURST]`:
//!
//! ```text
//! any:refuse=503:5%x3          5 in 100 requests begin a burst of three refusals
//! get@work/:flip:0.1%          one bit of 1 in 1000 answers about keys that hold "work/"
//! writes:lose-answer:1%        carried out, and the connection closed without an answer
//! ```

use super::kind::Kind;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A place in a body that is drawn when the fault happens.
pub const ANYWHERE: u64 = u64::MAX;

/// One thing that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is not carried out; this status is the answer, with the code S3 has for it.
    Refuse(u16),
    /// The request is not carried out; the connection is closed without an answer.
    Reset,
    /// The connection is closed after so many bytes of the request's body; it is not carried out.
    CutRequest(u64),
    /// One bit of this byte of the request's body is turned over on the way.
    FlipRequest(u64),
    /// The request is carried out, and the connection closed without an answer.
    LoseAnswer,
    /// The request is carried out, and this status is the answer.
    FailAnswer(u16),
    /// The connection breaks after so many bytes of the answer's body.
    CutBody(u64),
    /// The answer has so many bytes of its body, says so in its length, and ends well.
    Shorten(u64),
    /// One bit of this byte of the answer's body is turned over.
    FlipBit(u64),
    /// The answer's body stands still for this long in its middle.
    Stall(Duration),
    /// Looking and listing: what the same question was answered when it was asked for the first time, or that nothing is
    /// there. Other requests are not touched.
    Stale,
}

impl Fault {
    /// Its name in rules and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Refuse(_) => "refuse",
            Fault::Reset => "reset",
            Fault::CutRequest(_) => "cut-request",
            Fault::FlipRequest(_) => "flip-request",
            Fault::LoseAnswer => "lose-answer",
            Fault::FailAnswer(_) => "fail-answer",
            Fault::CutBody(_) => "cut",
            Fault::Shorten(_) => "shorten",
            Fault::FlipBit(_) => "flip",
            Fault::Stall(_) => "stall",
            Fault::Stale => "stale",
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once('=') {
            None => (text, None),
            Some((name, number)) => {
                let number: u64 = number
                    .parse()
                    .map_err(|_| format!("\"{number}\" in \"{text}\" is not a number"))?;
                (name, Some(number))
            }
        };
        let place = number.unwrap_or(ANYWHERE);
        let status = |usual: u16| match number {
            None => Ok(usual),
            Some(status @ 400..=599) => Ok(status as u16),
            Some(_) => Err(format!("\"{text}\" names no status from 400 to 599")),
        };
        Ok(match name {
            "refuse" => Fault::Refuse(status(503)?),
            "reset" => Fault::Reset,
            "cut-request" => Fault::CutRequest(place),
            "flip-request" => Fault::FlipRequest(place),
            "lose-answer" => Fault::LoseAnswer,
            "fail-answer" => Fault::FailAnswer(status(500)?),
            "cut" => Fault::CutBody(place),
            "shorten" => Fault::Shorten(place),
            "flip" => Fault::FlipBit(place),
            "stall" => Fault::Stall(Duration::from_millis(number.unwrap_or(1000))),
            "stale" => Fault::Stale,
            _ => {
                return Err(format!(
                    "\"{name}\" is not a fault; there are refuse, reset, cut-request, flip-request, lose-answer, \
                     fail-answer, cut, shorten, flip, stall and stale"
                ));
            }
        })
    }
}

/// The requests a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    Any,
    /// Those that change something.
    Writes,
    /// Those of one kind.
    Only(Kind),
}

/// Something that goes wrong again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// With which requests.
    pub which: Which,
    /// Only where the path holds this; empty: anywhere.
    pub key: String,
    /// What.
    pub fault: Fault,
    /// How many of these requests begin a burst, from 0 to 1.
    pub share: f64,
    /// Requests in a row that it strikes.
    pub burst: u32,
}

impl Rule {
    /// Whether it is about such a request.
    pub fn is_about(&self, kind: Kind, path: &str) -> bool {
        let which = match self.which {
            Which::Any => true,
            Which::Writes => kind.is_write(),
            Which::Only(only) => only == kind,
        };
        which && path.contains(&self.key)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.which {
            Which::Any => f.write_str("any")?,
            Which::Writes => f.write_str("writes")?,
            Which::Only(kind) => kind.fmt(f)?,
        }
        if !self.key.is_empty() {
            write!(f, "@{}", self.key)?;
        }
        write!(f, ":{}:{}%", self.fault.name(), self.share * 100.0)?;
        match self.burst {
            1 => Ok(()),
            burst => write!(f, "x{burst}"),
        }
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("the rule \"{text}\" {what}");
        let parts: Vec<&str> = text.split(':').collect();
        let [which, fault, often] = parts[..] else {
            return Err(wrong(
                "is not WHICH[@KEY]:FAULT:PERCENT[xBURST], as in get@work/:flip:0.1%",
            ));
        };
        let (which, key) = which.split_once('@').unwrap_or((which, ""));
        let which = match which {
            "any" => Which::Any,
            "writes" => Which::Writes,
            name => Kind::NAMES
                .iter()
                .find(|(_, known)| *known == name)
                .map(|(kind, _)| Which::Only(*kind))
                .ok_or_else(|| wrong("begins with no kind of request, nor with any or writes"))?,
        };
        let (percent, burst) = often.split_once('x').unwrap_or((often, "1"));
        let percent: f64 = percent
            .strip_suffix('%')
            .and_then(|number| number.parse().ok())
            .filter(|percent| (0.0..=100.0).contains(percent))
            .ok_or_else(|| wrong("has no share between 0% and 100%"))?;
        let burst = burst.parse().ok().filter(|burst| *burst > 0);
        Ok(Rule {
            which,
            key: key.to_owned(),
            fault: fault.parse()?,
            share: percent / 100.0,
            burst: burst.ok_or_else(|| wrong("has no burst of one request or more"))?,
        })
    }
}

/// A bad day of a store: 5 % refused, 1 % broken connections and as many bodies that break off, 1 % of the writes carried out
/// unheard, 0.1 % of what is read below `damaged` with a bit turned over, and bodies that stand still. Bytes of a Source are
/// left as they are: nobody but the store knows what they should be, and it does not tell for parts.
pub fn bad_day(damaged: &str) -> Vec<Rule> {
    let damaged = format!("get@{damaged}:flip:0.1%");
    [
        "any:refuse=503:5%",
        "any:reset:1%",
        "writes:lose-answer:0.5%",
        "writes:fail-answer=500:0.5%",
        &damaged,
        "get:cut:1%",
        "get:stall=2000:0.2%",
    ]
    .map(|text| text.parse().expect("a rule"))
    .into()
}

/// Rules with what is left of their bursts.
#[derive(Debug, Default)]
pub(super) struct Rules {
    rules: Vec<(Rule, u32)>,
}

impl Rules {
    pub(super) fn add(&mut self, rule: Rule) {
        self.rules.push((rule, 0));
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The fault of the first rule that strikes.
    pub(super) fn strike(
        &mut self,
        kind: Kind,
        path: &str,
        random: &mut fastrand::Rng,
    ) -> Option<Fault> {
        self.rules.iter_mut().find_map(|(rule, left)| {
            if !rule.is_about(kind, path) {
                return None;
            }
            if *left == 0 && random.f64() < rule.share {
                *left = rule.burst;
            }
            *left = left.checked_sub(1)?;
            Some(rule.fault)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in [
            "any:refuse:5%x3",
            "get@work/:flip:0.1%",
            "writes:lose-answer:1%",
        ] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        let rule: Rule = "part:fail-answer=503:100%".parse().unwrap();
        assert_eq!(rule.fault, Fault::FailAnswer(503));
        assert!(rule.is_about(Kind::Part, "/x") && !rule.is_about(Kind::Put, "/x"));
        for (text, expected) in [
            ("get:flip", "is not WHICH"),
            ("gets:flip:1%", "begins with no kind"),
            ("get:flop:1%", "is not a fault"),
            ("get:flip:101%", "no share between"),
            ("get:flip:1%x0", "no burst"),
            ("get:refuse=200:1%", "no status"),
            ("get:flip=a:1%", "is not a number"),
        ] {
            let refused = text.parse::<Rule>().unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn a_rule_strikes_as_often_as_it_says_and_in_bursts() {
        let mut rules = Rules::default();
        rules.add("get:reset:10%x2".parse().unwrap());
        let mut random = fastrand::Rng::with_seed(7);
        let mut strike = |kind| rules.strike(kind, "/a/b", &mut random).is_some();
        assert!((0..1000).all(|_| !strike(Kind::Put)));
        let struck: Vec<bool> = (0..10_000).map(|_| strike(Kind::Get)).collect();
        let hits = struck.iter().filter(|hit| **hit).count();
        // A burst of two begins with every tenth of the rest: 2 of 11.
        assert!((1600..2050).contains(&hits), "{hits}");
        let lengths: Vec<usize> = struck
            .chunk_by(|a, b| a == b)
            .filter(|run| run[0])
            .map(<[bool]>::len)
            .collect();
        assert!(lengths.iter().all(|length| length % 2 == 0));
    }
}
