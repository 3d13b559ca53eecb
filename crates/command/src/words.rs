//! Words of a text, quoted as in a shell. There is no shell: nothing is expanded.

use crate::refused::{Place, Refused};

/// A word and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Without its quotes.
    pub text: String,
    /// Its first character, from 1.
    pub at: usize,
}

/// Characters that a shell would act on. Who writes them unquoted expects a shell.
const SHELL: &[char] = &['`', '$'];

/// Cuts a text into words: at blanks, but for what stands in `'…'` or `"…"`; outside of `'…'` a backslash takes the next
/// character as it is.
pub fn words(place: Place, text: &str) -> Result<Vec<Word>, Refused> {
    let refused = |at: usize, why: &str| Err(Refused::new(place, at, why));
    if text.len() > crate::LONGEST_TEXT {
        let why = format!(
            "the options have {} bytes, at most {} are taken: leave out what is not needed",
            text.len(),
            crate::LONGEST_TEXT
        );
        return Err(Refused::new(place, 0, why));
    }
    let mut words = Vec::new();
    let mut open: Option<Word> = None;
    let mut quote: Option<(char, usize)> = None;
    let mut letters = text.chars().enumerate();
    while let Some((index, letter)) = letters.next() {
        let at = index + 1;
        if letter.is_control() && !matches!(letter, ' ' | '\t' | '\n' | '\r') {
            return refused(at, "a control character cannot be used: remove it");
        }
        match (quote, letter) {
            (None, ' ' | '\t' | '\n' | '\r') => words.extend(open.take()),
            (Some(_), '\t' | '\n' | '\r') => {
                return refused(
                    at,
                    "a tab or the end of a line inside quotes cannot be used: write a blank",
                );
            }
            (None, c) if SHELL.contains(&c) => {
                return refused(
                    at,
                    "this has a meaning for shells only, and no shell reads the options: remove it, or quote it where it is \
                     meant as it stands",
                );
            }
            (Some((mark, _)), c) if c == mark => quote = None,
            (None, '\'' | '"') => {
                quote = Some((letter, at));
                open.get_or_insert(Word {
                    text: String::new(),
                    at,
                });
            }
            (None | Some(('"', _)), '\\') => match letters.next() {
                // In double quotes only what would end or change them needs it; FFmpeg's own escapes keep theirs.
                Some((_, next)) if quote.is_some() && !matches!(next, '"' | '\\' | '$' | '`') => {
                    push(&mut open, at, '\\');
                    push(&mut open, at, next);
                }
                Some((_, next)) if !next.is_control() => push(&mut open, at, next),
                _ => return refused(at, "nothing follows this backslash: remove it"),
            },
            (_, letter) => push(&mut open, at, letter),
        }
    }
    if let Some((mark, at)) = quote {
        return refused(at, &format!("this quote is not closed: add {mark}"));
    }
    words.extend(open);
    Ok(words)
}

fn push(open: &mut Option<Word>, at: usize, letter: char) {
    let word = open.get_or_insert(Word {
        text: String::new(),
        at,
    });
    word.text.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Result<Vec<String>, String> {
        let words = words(Place::Global, text).map_err(|e| e.to_string())?;
        Ok(words.into_iter().map(|word| word.text).collect())
    }

    #[test]
    fn words_are_cut_as_a_shell_would_and_nothing_is_expanded() {
        for (text, expected) in [
            ("", vec![]),
            ("  -a   b\n-c ", vec!["-a", "b", "-c"]),
            ("-vf 'scale=1:2, crop=3'", vec!["-vf", "scale=1:2, crop=3"]),
            (
                r#"-metadata title="a b"'c d'e"#,
                vec!["-metadata", "title=a bc de"],
            ),
            (r"a\ b \-c", vec!["a b", "-c"]),
            ("''", vec![""]),
            ("'$HOME `x` | > &'", vec!["$HOME `x` | > &"]),
            (r#""min(1\,2)""#, vec![r"min(1\,2)"]),
        ] {
            assert_eq!(texts(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_closed_or_meant_for_a_shell_is_refused_at_its_place() {
        for (text, part) in [
            ("-a 'b", "character 4: this quote"),
            ("-a \"b", "character 4: this quote"),
            ("-a b\\", "character 5: nothing follows"),
            ("-a $(id)", "character 4: this has a meaning for shells"),
            ("-a `id`", "character 4"),
            ("a\0b", "character 2: a control character"),
            ("a\u{1b}[2J", "control character"),
            ("'a\nb'", "inside quotes"),
        ] {
            let error = texts(text).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        assert!(texts(&"a".repeat(5000)).unwrap_err().contains("5000 bytes"));
    }
}
