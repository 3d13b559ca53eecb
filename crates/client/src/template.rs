//! Names of outputs that follow from the name of the input: `s3://out/{path}.mp4`.

use crate::fault::Fault;

/// Whether a name leaves something open.
pub fn is_one(name: &str) -> bool {
    name.replace("{{", "").contains('{')
}

/// Fills in what `name` leaves open. `path`: the input below the prefix that was named, or its file name.
/// # Errors
/// [`Kind::Usage`](crate::fault::Kind::Usage): a field that nobody knows, or a brace that is not closed.
pub fn fill(name: &str, path: &str) -> Result<String, Fault> {
    let file = path.rsplit('/').next().unwrap_or(path);
    let ending = file.rfind('.').filter(|at| *at > 0);
    let ext = ending.map_or("", |at| &file[at + 1..]);
    let without = ending.map_or(0, |at| file.len() - at);
    let stem = &file[..file.len() - without];
    let path = &path[..path.len() - without];
    let encode = name
        .get(..7)
        .is_some_and(|s| s.eq_ignore_ascii_case("file://"));
    let (mut out, mut rest) = (String::new(), name);
    while let Some(at) = rest.find(['{', '}']) {
        out += &rest[..at];
        rest = &rest[at..];
        if let Some(tail) = ["{{", "}}"].iter().find_map(|two| rest.strip_prefix(two)) {
            out += &rest[..1];
            rest = tail;
            continue;
        }
        let field = rest.strip_prefix('{').and_then(|r| r.split_once('}'));
        let value = match field {
            Some(("stem", _)) => stem,
            Some(("ext", _)) => ext,
            Some(("path", _)) => path,
            Some((other, _)) => {
                return Err(Fault::usage(format!(
                    "{{{other}}} in the name {name} is not known; write {{stem}} (the input's name without its ending), {{ext}} \
                     or {{path}}, and {{{{ for a brace"
                )));
            }
            None => {
                return Err(Fault::usage(format!(
                    "a brace in the name {name} stands alone; write {{stem}}, {{ext}} or {{path}}, and {{{{ or }}}} for a brace"
                )));
            }
        };
        match encode {
            true => out += &encoded(value),
            false => out += value,
        }
        rest = field.map_or("", |(_, rest)| rest);
    }
    Ok(out + rest)
}

/// A part of a path, as a file URL holds it.
fn encoded(text: &str) -> String {
    text.replace('%', "%25")
        .replace('#', "%23")
        .replace('?', "%3F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_input() {
        for (name, path, expected) in [
            ("s3://out/{stem}.mp4", "a/b/film.mov", "s3://out/film.mp4"),
            (
                "s3://out/{path}.mp4",
                "a/b/film.mov",
                "s3://out/a/b/film.mp4",
            ),
            ("{stem}-{ext}.mkv", "film.2024.mov", "film.2024-mov.mkv"),
            ("{stem}.mkv", ".hidden", ".hidden.mkv"),
            ("{stem}.mkv", "plain", "plain.mkv"),
            ("out.mkv", "film.mov", "out.mkv"),
            ("a{{b}}.mkv", "film.mov", "a{b}.mkv"),
            (
                "file:///d/{stem}.mkv",
                "50% #1?.mov",
                "file:///d/50%25 %231%3F.mkv",
            ),
            ("s3://d/{stem}.mkv", "50% #1.mov", "s3://d/50% #1.mkv"),
        ] {
            assert_eq!(fill(name, path).unwrap(), expected, "{name} of {path}");
        }
        assert!(is_one("{stem}.mp4") && !is_one("a{{b.mp4") && !is_one("a.mp4"));
    }

    #[test]
    fn fields_that_nobody_knows_are_refused_with_those_that_are() {
        for (name, part) in [
            ("{nam}.mp4", "{nam} in the name {nam}.mp4 is not known"),
            ("{stem.mp4", "stands alone"),
            ("stem}.mp4", "stands alone"),
        ] {
            let message = fill(name, "film.mov").unwrap_err().message;
            assert!(
                message.contains(part) && message.contains("{stem}"),
                "{message}"
            );
        }
    }
}
