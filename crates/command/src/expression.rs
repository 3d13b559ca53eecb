//! Computations in filters' arguments: numbers, names that FFmpeg knows, a few functions. None that prints, remembers or draws
//! lots.

use std::fmt;

/// A computation, as its parts in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Digits and at most one point.
    Number(String),
    /// A variable or a function.
    Name(&'static str),
    /// `+ - * / ^ ( ) ,`
    Sign(char),
}

/// Functions and how many arguments they take.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("abs", 1, 1),
    ("between", 3, 3),
    ("ceil", 1, 1),
    ("clip", 3, 3),
    ("cos", 1, 1),
    ("eq", 2, 2),
    ("exp", 1, 1),
    ("floor", 1, 1),
    ("gt", 2, 2),
    ("gte", 2, 2),
    ("hypot", 2, 2),
    ("if", 2, 3),
    ("ifnot", 2, 3),
    ("isnan", 1, 1),
    ("lt", 2, 2),
    ("lte", 2, 2),
    ("max", 2, 2),
    ("min", 2, 2),
    ("mod", 2, 2),
    ("not", 1, 1),
    ("pow", 2, 2),
    ("round", 1, 1),
    ("sin", 1, 1),
    ("sqrt", 1, 1),
    ("trunc", 1, 1),
];

/// Known to every filter.
const CONSTANTS: &[&str] = &["PI", "E", "PHI"];

/// The deepest nesting. FFmpeg's own parser calls itself.
const DEEPEST: u32 = 32;
/// The most parts.
const MOST_PARTS: usize = 256;

impl Expression {
    /// Reads a computation over `variables`.
    pub fn read(text: &str, variables: &[&'static str]) -> Result<Self, String> {
        let parts = parts(text, variables)?;
        let mut reader = Reader {
            parts: &parts,
            variables,
            at: 0,
            depth: 0,
        };
        reader.sum()?;
        match reader.at == parts.len() {
            true => Ok(Self(parts)),
            false => Err(format!(
                "{} is more than one computation",
                crate::refused::shown(text)
            )),
        }
    }

    /// It can stand among a filter's arguments as it is.
    pub fn is_plain(&self) -> bool {
        !self.0.contains(&Part::Sign(','))
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Number(digits) => f.write_str(digits),
            Part::Name(name) => f.write_str(name),
            Part::Sign(sign) => write!(f, "{sign}"),
        })
    }
}

fn parts(text: &str, variables: &[&'static str]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = |keep: fn(char) -> bool| rest.find(|c| !keep(c)).unwrap_or(rest.len());
        let taken = match first {
            ' ' => 1,
            '0'..='9' | '.' => {
                let taken = length(|c| c.is_ascii_digit() || c == '.');
                let digits = &rest[..taken];
                if taken > 20 || digits.matches('.').count() > 1 || digits == "." {
                    return Err(format!("{} is not a number", crate::refused::shown(digits)));
                }
                parts.push(Part::Number(digits.to_owned()));
                taken
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let taken = length(|c| c.is_ascii_alphanumeric() || c == '_');
                let name = &rest[..taken];
                let functions = FUNCTIONS.iter().map(|(known, ..)| known);
                let known = functions.chain(CONSTANTS).chain(variables);
                let known = known.into_iter().find(|known| **known == name);
                let Some(known) = known else {
                    return Err(format!(
                        "{} is not known in this computation: use {}",
                        crate::refused::shown(name),
                        match variables {
                            [] => "numbers".to_owned(),
                            some => some.join(", "),
                        }
                    ));
                };
                parts.push(Part::Name(known));
                taken
            }
            '+' | '-' | '*' | '/' | '^' | '(' | ')' | ',' => {
                parts.push(Part::Sign(first));
                1
            }
            other => {
                return Err(format!("{other:?} has no place in a computation"));
            }
        };
        rest = &rest[taken..];
        if parts.len() > MOST_PARTS {
            return Err(format!(
                "a computation has at most {MOST_PARTS} parts: shorten it"
            ));
        }
    }
    Ok(parts)
}

struct Reader<'a> {
    parts: &'a [Part],
    variables: &'a [&'static str],
    at: usize,
    depth: u32,
}

impl Reader<'_> {
    fn next_is(&self, signs: &[char]) -> bool {
        matches!(self.parts.get(self.at), Some(Part::Sign(sign)) if signs.contains(sign))
    }

    fn take(&mut self, sign: char) -> Result<(), String> {
        if !self.next_is(&[sign]) {
            return Err(format!("a {sign:?} is missing in a computation"));
        }
        self.at += 1;
        Ok(())
    }

    fn sum(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!(
                "a computation nests at most {DEEPEST} times: simplify it"
            ));
        }
        self.operand()?;
        while self.next_is(&['+', '-', '*', '/', '^']) {
            self.at += 1;
            self.operand()?;
        }
        self.depth -= 1;
        Ok(())
    }

    fn operand(&mut self) -> Result<(), String> {
        // One sign, as in `2*-1`.
        if self.next_is(&['+', '-']) {
            self.at += 1;
        }
        let part = self.parts.get(self.at).cloned();
        self.at += 1;
        match part {
            Some(Part::Number(_)) => Ok(()),
            Some(Part::Sign('(')) => {
                self.sum()?;
                self.take(')')
            }
            Some(Part::Name(name)) => {
                let function = FUNCTIONS.iter().find(|(known, ..)| *known == name);
                // `n` and the like are no functions, and no function stands without its arguments.
                match function {
                    Some(&(_, least, most)) if !self.variables.contains(&name) => {
                        self.arguments(name, least, most)
                    }
                    _ => Ok(()),
                }
            }
            _ => Err("a number or a name is missing in a computation".to_owned()),
        }
    }

    fn arguments(&mut self, name: &str, least: usize, most: usize) -> Result<(), String> {
        self.take('(')?;
        let mut count = 0;
        loop {
            self.sum()?;
            count += 1;
            if !self.next_is(&[',']) {
                break;
            }
            self.at += 1;
        }
        self.take(')')?;
        match (least..=most).contains(&count) {
            true => Ok(()),
            false => Err(format!("{name}() does not take {count} arguments")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VARIABLES: &[&str] = &["iw", "ih", "n", "PTS", "STARTPTS", "scene"];

    #[test]
    fn computations_read_back_as_they_are_shown() {
        for (text, shown) in [
            ("1280", "1280"),
            ("-2", "-2"),
            ("trunc(iw/2)*2", "trunc(iw/2)*2"),
            ("min(1280, iw)", "min(1280,iw)"),
            ("0.5*PTS", "0.5*PTS"),
            ("PTS-STARTPTS", "PTS-STARTPTS"),
            ("not(mod(n,100))", "not(mod(n,100))"),
            ("gt(scene,.4)", "gt(scene,.4)"),
            ("2*-(iw+ih)^2", "2*-(iw+ih)^2"),
            ("if(gt(iw,ih),iw,-1)", "if(gt(iw,ih),iw,-1)"),
        ] {
            let read = Expression::read(text, VARIABLES).unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(Expression::read(shown, VARIABLES), Ok(read));
        }
    }

    #[test]
    fn what_is_no_computation_is_refused() {
        for (text, part) in [
            ("", "missing"),
            ("1+", "missing"),
            ("(1", "')'"),
            ("1)", "more than one"),
            ("1 2", "more than one"),
            ("1.2.3", "not a number"),
            ("st(0,1)", "\"st\" is not known"),
            ("print(1)", "\"print\" is not known"),
            ("random(1)", "\"random\" is not known"),
            ("while(1,1)", "\"while\" is not known"),
            ("min(1)", "does not take 1"),
            ("min", "'(' is missing"),
            ("oh", "use iw, ih"),
            ("1;2", "';' has no place"),
            ("iw'", "has no place"),
            ("iw:x=1", "':' has no place"),
            ("--1", "missing"),
        ] {
            let error = Expression::read(text, VARIABLES).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        let deep = "(".repeat(100) + "1" + &")".repeat(100);
        assert!(Expression::read(&deep, &[]).unwrap_err().contains("nests"));
        let long = "1+".repeat(300) + "1";
        assert!(
            Expression::read(&long, &[])
                .unwrap_err()
                .contains("at most")
        );
    }
}
