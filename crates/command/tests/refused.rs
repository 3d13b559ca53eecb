//! What must not pass.

use recode_command::hostile::{STRINGS, request};
use recode_command::{LONGEST_TEXT, Place, parse};
use recode_types::{CommandFile, CommandRequest};

#[test]
fn every_hostile_text_is_refused_with_its_place() {
    assert!(STRINGS.len() >= 150, "{} texts", STRINGS.len());
    let plain = request(Place::Output(0), "");
    parse(&plain)
        .expect("without the text the request is taken, so it is the text that is refused");
    for (place, text) in STRINGS {
        let refused = match parse(&request(*place, text)) {
            Ok(line) => panic!("{place}: {text:?} was taken as {line:?}"),
            Err(refused) => refused,
        };
        assert_eq!(refused.place, *place, "{text:?}: {refused}");
        let said = refused.to_string();
        assert!(
            !said.contains(['\n', '\0', '\u{1b}']) && said.len() < 700,
            "{text:?}: {said:?}"
        );
        assert!(
            said.contains(':') && !said.ends_with('.'),
            "{text:?}: {said}"
        );
    }
}

#[test]
fn a_refusal_says_where_and_what_to_do() {
    for (place, text, said) in [
        (
            Place::Output(0),
            "-crf 20 -vf movie=x",
            "output 1, character 13: in -vf, the filter \"movie\" is not among",
        ),
        (
            Place::Input(0),
            "-ss x",
            "input 1, character 5: in -ss, \"x\" is not a time such as",
        ),
        (
            Place::Global,
            "-crf 20",
            "the global options, character 1: -crf belongs to an output: write it there",
        ),
        (Place::Output(0), "-pass 1", "a second pass would need"),
        (
            Place::Output(0),
            "-qscale:v:x 2",
            "\"v:x\" is no stream specifier",
        ),
        (
            Place::Output(0),
            "-vframes:v 2",
            "-vframes is not for single streams",
        ),
        (Place::Output(0), "out.mp4", "URLs are named beside them"),
        (Place::Output(0), "-f hls", "use -f segment"),
        (
            Place::Output(0),
            "-map 1:v",
            "inputs are counted from 0 to 0",
        ),
    ] {
        let error = parse(&request(place, text)).unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
}

fn with(change: impl FnOnce(&mut CommandRequest)) -> String {
    let mut request = request(Place::Output(0), "");
    change(&mut request);
    parse(&request).unwrap_err().to_string()
}

#[test]
fn files_that_cannot_be_are_refused() {
    let url = |url: &str| {
        let url = url.to_owned();
        with(move |r| r.outputs[0].url = url)
    };
    assert!(with(|r| r.inputs.clear()).contains("at least one input"));
    assert!(with(|r| r.outputs.clear()).contains("at least one input and one output"));
    assert!(with(|r| r.outputs.push(r.outputs[0].clone())).contains("two outputs are named"));
    assert!(with(|r| r.outputs[0].url = r.inputs[0].url.clone()).contains("is input and output"));
    assert!(with(|r| r.inputs = vec![CommandFile::default(); 33]).contains("33 inputs"));
    assert!(
        with(|r| r.inputs[0].url = "s3://b/".into()).contains("input 1: its URL names no file")
    );
    assert!(with(|r| r.global = "-y ".repeat(LONGEST_TEXT)).contains("bytes"));
    assert!(url("s3://b/x").contains("add -f"));
    assert!(url("s3://b/x.exe").contains("add -f"));
    assert!(url("s3://b/x%03d.mp4").contains("makes one file"));
    assert!(url("s3://b/x%s.png").contains("no number's place"));
    assert!(url("s3://b/x.png").contains("add -frames:v 1"));
    assert!(url("file:///x/img%03d.png").contains("control character"));
    assert!(with(|r| r.outputs[0].options = "-f segment".into()).contains("put a number"));
}
