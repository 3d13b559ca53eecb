//! Whatever is written: no panic, and nothing but our own files in the arguments.

use proptest::prelude::*;
use recode_command::hostile::{STRINGS, request};
use recode_command::{Place, parse};
use recode_types::CommandRequest;
use std::path::PathBuf;

const INPUT: &str = "/scratch/in";
const OUTPUT: &str = "/scratch/out";

/// The arguments, where the request is taken.
fn argv(request: &CommandRequest) -> Option<Vec<String>> {
    let line = parse(request).ok()?;
    let args = line.argv(&[PathBuf::from(INPUT)], &[PathBuf::from(OUTPUT)]);
    Some(
        args.into_iter()
            .map(|arg| arg.into_string().expect("all of it is text"))
            .collect(),
    )
}

/// Nothing but options, values of known shapes, and two files.
fn check(request: &CommandRequest) {
    let Some(args) = argv(request) else {
        return;
    };
    let mut files = 0;
    let mut free = false;
    for arg in &args {
        assert!(!arg.contains('\0'), "{args:?}");
        if arg == &format!("file:{INPUT}") || arg == &format!("file:{OUTPUT}") {
            files += 1;
            free = false;
            continue;
        }
        // The text of metadata is free, and is nothing but text.
        if !free {
            assert!(
                !arg.contains("://") && !arg.contains("..") && !arg.starts_with('/'),
                "{args:?}"
            );
            assert!(!arg.contains("=/") && !arg.starts_with("@"), "{args:?}");
        }
        free = arg.starts_with("-metadata");
    }
    assert_eq!(files, 2, "{args:?}");
    assert_eq!(
        args.iter().filter(|arg| *arg == "-i").count(),
        1,
        "{args:?}"
    );
    assert_eq!(args.last(), Some(&format!("file:{OUTPUT}")), "{args:?}");
}

/// Pieces of commands, good and bad, from which new ones are made.
fn pieces() -> Vec<String> {
    let good = [
        "-c:v",
        "libx264",
        "-crf",
        "23",
        "-vf",
        "scale=1280:-2",
        "scale=w='min(1280,iw)':h=-2,fps=25",
        "-map",
        "0:v:0",
        "-an",
        "-metadata",
        "title=x",
        "-filter_complex",
        "[0:v]split[a][b];[a]null[c]",
        "-ss",
        "00:01:02.5",
        "-t",
        "-f",
        "mp4",
        "matroska",
        "-x264-params",
        "keyint=60:scenecut=0",
        "'",
        "\"",
        "\\",
        " ",
        ":",
        "=",
        "[",
        "]",
        ";",
        ",",
        "-",
        "/etc/passwd",
        "file:/x",
        "http://h/",
        "%03d",
        "..",
        "-i",
    ];
    let hostile = STRINGS.iter().flat_map(|(_, text)| text.split(' '));
    good.into_iter().chain(hostile).map(str::to_owned).collect()
}

fn texts() -> impl Strategy<Value = String> {
    let pieces = proptest::sample::select(pieces());
    let glue = proptest::sample::select(vec![" ", " ", " ", "", ":", "=", ","]);
    let glued = proptest::collection::vec((pieces, glue), 0..12).prop_map(|parts| {
        parts
            .into_iter()
            .flat_map(|(piece, glue)| [piece, glue.to_owned()])
            .collect::<String>()
    });
    prop_oneof![3 => glued, 1 => any::<String>(), 1 => "[ -~]{0,80}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_only_our_files_are_named(text in texts(), place in 0..3_usize) {
        let place = [Place::Global, Place::Input(0), Place::Output(0)][place];
        check(&request(place, &text));
    }

    #[test]
    fn whatever_the_urls_are_they_do_not_reach_the_arguments(input in texts(), output in texts()) {
        let mut request = request(Place::Output(0), "-f mp4");
        request.inputs[0].url = input;
        request.outputs[0].url = output;
        check(&request);
    }
}

/// What FFmpeg is given reads back as the same command: what was understood is what is written.
#[test]
fn arguments_read_back_as_the_same_command() {
    for (place, text) in [
        (
            Place::Output(0),
            "-c:v libx264 -crf 23.5 -vf \"scale='min(1280,iw)':-2,fps=1/10\" -b:v 2.5M -ss 1:30 -metadata title='a b'",
        ),
        (
            Place::Output(0),
            "-x265-params keyint=48:no-sao=1 -movflags +faststart -map 0:a:1? -aspect 16:9 -r 29.97 -timecode 01:00:00;00",
        ),
        (
            Place::Input(0),
            "-ss 00:01:00 -itsoffset -0.25 -hwaccel cuda -r 25",
        ),
        (
            Place::Global,
            "-filter_complex '[0:v]trim=1:2,setpts=PTS-STARTPTS[v];[0:a]volume=-3dB[a]' -xerror",
        ),
    ] {
        let first = request(place, text);
        let args = argv(&first).unwrap_or_else(|| panic!("{text} is usual"));
        let own = |arg: &&String| !arg.starts_with("file:") && *arg != "-i";
        let quoted = args
            .iter()
            .filter(own)
            .map(|arg| format!("'{}'", arg.replace('\'', r"'\''")));
        let mut words: Vec<String> = quoted.collect();
        // What is added to every command.
        for added in ["'-protocol_whitelist'", "'-format_whitelist'"] {
            let at = words
                .iter()
                .position(|word| word == added)
                .expect("it is always there");
            words.drain(at..at + 2);
        }
        if place != Place::Output(0) {
            words.truncate(words.len() - 2);
        }
        let second = request(place, &words.join(" "));
        assert_eq!(argv(&second), Some(args), "{text}");
    }
}
