//! Within the program.

use crate::{color, common, decoded, plain};
use recode_testkit::s3::Server;
use recode_types::report::JobReport;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Folder {
    dir: tempfile::TempDir,
    ffmpeg: PathBuf,
}

impl Folder {
    /// With a clip of four seconds with sound; `None`, said aloud: there is no FFmpeg here.
    fn new() -> Option<Self> {
        let ffmpeg = common::ffmpeg()?.canonicalize().expect("it was found");
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        plain(
            &ffmpeg,
            dir.path(),
            "-f lavfi -i testsrc2=size=160x120:rate=25:duration=4 -f lavfi -i sine=duration=4 -c:v libx264 -preset ultrafast -g 25 \
             -c:a aac in.mp4",
        );
        Some(Self { dir, ffmpeg })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("the program is built")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recode-client"));
        command
            .current_dir(self.path())
            .env_remove("RECODE_ENDPOINT");
        command
            .env("RECODE_FFMPEG", &self.ffmpeg)
            .env("RECODE_STATE", self.file("state"));
        command.arg("command").args(words);
        command
    }

    /// The report of a command that is done.
    fn done(&self, words: &[&str]) -> JobReport {
        let out = self.run(&[words, &["--json"]].concat());
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{words:?}: {said}");
        serde_json::from_slice(&out.stdout).expect("it is a report")
    }

    /// What is said of a command that is refused, and with which code.
    fn refused(&self, words: &[&str]) -> (i32, String) {
        let before = self.listing();
        let out = self.run(words);
        assert_eq!(self.listing(), before, "{words:?} left something behind");
        (
            out.status.code().expect("it ended"),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    }

    /// Names of all files but the state.
    fn listing(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.path())
            .expect("the folder is ours")
            .flatten();
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.filter(|name| name != "state").collect();
        names.sort();
        names
    }
}

#[test]
fn a_picture_every_second_becomes_a_numbered_file() {
    let Some(folder) = Folder::new() else { return };
    let report = folder.done(&[
        "--input",
        "",
        "in.mp4",
        "--output",
        "-vf fps=1,scale=80:-2 -start_number 7",
        "img%03d.png",
    ]);
    assert_eq!(
        folder.listing(),
        [
            "img007.png",
            "img008.png",
            "img009.png",
            "img010.png",
            "in.mp4"
        ]
    );
    let output = &report.outputs[0];
    assert_eq!(
        (report.outputs.len(), output.files, output.frames),
        (1, 4, 4)
    );
    let bytes: u64 = (7..=10)
        .map(|n| {
            std::fs::metadata(folder.file(&format!("img{n:03}.png")))
                .expect("it is there")
                .len()
        })
        .sum();
    assert_eq!(output.bytes, bytes);
    // Nothing of it stays.
    let state: Vec<_> = std::fs::read_dir(folder.file("state"))
        .unwrap()
        .flatten()
        .collect();
    assert!(
        !state
            .iter()
            .any(|e| e.file_name().to_string_lossy().contains("room")),
        "{state:?}"
    );
}

#[test]
fn a_copy_has_the_same_pictures_and_sound() {
    let Some(folder) = Folder::new() else { return };
    let report = folder.done(&[
        "--input",
        "",
        "in.mp4",
        "--output",
        "-c copy -map 0",
        "out.mkv",
    ]);
    assert_eq!(report.outputs[0].frames, 100);
    assert!(
        (report.outputs[0].duration_seconds - 4.0).abs() < 0.1,
        "{report:?}"
    );
    for stream in ["0:v", "0:a"] {
        let of = |name: &str| decoded(&folder.ffmpeg, &folder.file(name), &["-map", stream]);
        assert_eq!(of("out.mkv"), of("in.mp4"), "{stream}");
    }
}

#[test]
fn pieces_of_a_film_are_numbered_and_hold_all_of_it() {
    let Some(folder) = Folder::new() else { return };
    let options = "-c copy -f segment -segment_time 1 -reset_timestamps 1";
    let report = folder.done(&["--input", "", "in.mp4", "--output", options, "part-%d.ts"]);
    assert_eq!(report.outputs[0].files, 4);
    let listed: Vec<String> = folder.listing();
    assert_eq!(
        listed,
        ["in.mp4", "part-0.ts", "part-1.ts", "part-2.ts", "part-3.ts"]
    );
}

#[test]
fn a_picture_is_laid_over_a_film() {
    let Some(folder) = Folder::new() else { return };
    plain(
        &folder.ffmpeg,
        folder.path(),
        "-f lavfi -i color=red:size=20x20 -frames:v 1 logo.png",
    );
    let before = color(&folder.ffmpeg, &folder.file("in.mp4"), 20, 20);
    folder.done(&[
        "--input", "", "in.mp4", "--input", "", "logo.png",
        "--output", "-filter_complex '[0:v][1:v]overlay=x=10:y=main_h-overlay_h-90' -c:v libx264 -qp 0 -pix_fmt yuv444p", "out.mp4",
    ]);
    let [red, green, blue] = color(&folder.ffmpeg, &folder.file("out.mp4"), 20, 20);
    assert!(
        red > 220 && green < 30 && blue < 30,
        "{red} {green} {blue}, before {before:?}"
    );
    let beside = |name: &str| color(&folder.ffmpeg, &folder.file(name), 100, 100);
    let far = |(a, b): (u8, u8)| a.abs_diff(b) > 12;
    assert!(!beside("out.mp4").into_iter().zip(beside("in.mp4")).any(far));
}

#[test]
fn sound_alone_is_what_ffmpeg_itself_makes_of_it() {
    let Some(folder) = Folder::new() else { return };
    plain(
        &folder.ffmpeg,
        folder.path(),
        "-i in.mp4 -vn -ac 1 -ar 22050 -c:a flac plain.flac",
    );
    folder.done(&[
        "--input",
        "",
        "in.mp4",
        "--output",
        "-vn -ac 1 -ar 22050 -c:a flac",
        "out.flac",
    ]);
    let of = |name: &str| decoded(&folder.ffmpeg, &folder.file(name), &[]);
    assert_eq!(of("out.flac"), of("plain.flac"));
}

#[test]
fn several_outputs_come_of_one_run() {
    let Some(folder) = Folder::new() else { return };
    let report = folder.done(&[
        "--global",
        "-y",
        "--input",
        "-ss 1 -t 2",
        "in.mp4",
        "--output",
        "-an -c:v libx264 -preset ultrafast -crf 30 -vf scale=80:-2",
        "small.mp4",
        "--output",
        "-vn -c:a copy",
        "sound.m4a",
        "--output",
        "-frames:v 1",
        "poster.jpg",
    ]);
    assert_eq!(
        folder.listing(),
        ["in.mp4", "poster.jpg", "small.mp4", "sound.m4a"]
    );
    let frames: Vec<u64> = report.outputs.iter().map(|output| output.frames).collect();
    assert_eq!(frames, [50, 0, 1]);
    assert_eq!(report.state, "done");
    assert!(report.cpu_seconds > 0.0 && report.bytes_written > 0);
}

#[test]
fn what_cannot_be_is_said_in_one_sentence_and_leaves_nothing() {
    let Some(folder) = Folder::new() else { return };
    std::fs::write(folder.file("taken.mkv"), b"mine").expect("the folder is ours");
    std::fs::write(
        folder.file("text.mp4"),
        b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
    )
    .expect("the folder is ours");
    std::fs::write(
        folder.file("list.txt"),
        b"ffconcat version 1.0\nfile in.mp4\n",
    )
    .expect("the folder is ours");
    for (words, code, part) in [
        (
            &["--input", "", "in.mp4", "--output", "-vf movie=x", "o.mp4"][..],
            2,
            "output 1, character 5: in -vf, the filter \"movie\"",
        ),
        (
            &["--input", "-f concat", "in.mp4", "--output", "", "o.mp4"],
            2,
            "input 1, character 4: in -f",
        ),
        (
            &["--input", "", "gone.mp4", "--output", "", "o.mp4"],
            3,
            "gone.mp4 does not exist",
        ),
        (
            &["--input", "", "in.mp4", "--output", "-c copy", "taken.mkv"],
            4,
            "taken.mkv exists",
        ),
        (
            &[
                "--input",
                "",
                "in.mp4",
                "--output",
                "-c copy",
                "no/where.mkv",
            ],
            4,
            "does not exist",
        ),
        (
            &[
                "--input",
                "",
                "in.mp4",
                "--output",
                "-c:v h264_videotoolbox",
                "o.mp4",
            ],
            5,
            "h264_videotoolbox",
        ),
        (
            &[
                "--input",
                "",
                "in.mp4",
                "--output",
                "-ss 100 -c copy -frames:v 1",
                "o.png",
            ],
            3,
            "",
        ),
        (
            &["--input", "", "in.mp4", "--output", "-map 0:v:3", "o.mp4"],
            3,
            "",
        ),
        // Lists of other files are recognised by their content, and are none of what may be read.
        (
            &["--input", "", "text.mp4", "--output", "-c copy", "o.mkv"],
            3,
            "",
        ),
        (
            &["--input", "", "list.txt", "--output", "-c copy", "o.mkv"],
            3,
            "",
        ),
        (
            &[
                "--input",
                "",
                "in.mp4",
                "--output",
                "",
                "o.mp4",
                "--compute",
                "intel",
            ],
            2,
            "among the nodes of a cluster",
        ),
        (&["--output", "", "o.mp4"], 2, "at least one input"),
    ] {
        let (was, said) = folder.refused(words);
        let lines = said
            .lines()
            .filter(|line| line.starts_with("recode-client: "));
        assert_eq!(lines.count(), 1, "{words:?}: {said}");
        assert!(
            was == code && said.contains(part),
            "{words:?}: {was} {said}"
        );
        assert!(
            !said.contains("scratch"),
            "{words:?} shows our own paths: {said}"
        );
    }
    assert_eq!(
        std::fs::read(folder.file("taken.mkv")).expect("it is there"),
        b"mine"
    );
    folder.done(&[
        "--force",
        "--input",
        "",
        "in.mp4",
        "--output",
        "-c copy",
        "taken.mkv",
    ]);
    assert!(
        std::fs::metadata(folder.file("taken.mkv"))
            .expect("it is there")
            .len()
            > 1_000
    );
}

/// A numbered output of which one file cannot have its name: the others do not keep theirs.
#[test]
fn all_files_get_their_names_or_none() {
    let Some(folder) = Folder::new() else { return };
    std::fs::write(folder.file("i3.png"), b"mine").expect("the folder is ours");
    let words = [
        "--input",
        "",
        "in.mp4",
        "--output",
        "-vn -c:a copy",
        "a.m4a",
        "--output",
        "-vf fps=1",
        "i%d.png",
    ];
    let (code, said) = folder.refused(&words);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("i3.png"), "{said}");
    assert_eq!(
        std::fs::read(folder.file("i3.png")).expect("it is there"),
        b"mine"
    );
}

#[test]
fn a_job_file_and_a_dry_run_say_the_same() {
    let Some(folder) = Folder::new() else { return };
    std::fs::create_dir(folder.file("jobs")).expect("the folder is ours");
    let file = "global_options = \"-y\"\ninput_url = \"../in.mp4\"\noutput_url = \"../clip.mp4\"\n\
                output_file_options = \"-ss 00:00:01 -t 00:00:02 -c:v copy -c:a copy\"\n";
    std::fs::write(folder.file("jobs/clip.toml"), file).expect("the folder is ours");
    let dry = folder.run(&["--job", "jobs/clip.toml", "--dry-run"]);
    let said = String::from_utf8_lossy(&dry.stdout);
    assert!(
        said.ends_with(
            " -i file:../in.mp4 -ss 1 -t 2 -c:v copy -c:a copy -f mp4 file:../clip.mp4\n"
        ),
        "{said}"
    );
    assert!(!folder.file("clip.mp4").exists());
    folder.done(&["--job", "jobs/clip.toml"]);
    assert!(folder.file("clip.mp4").exists());
}

#[test]
fn inputs_and_outputs_may_be_in_a_store() {
    let Some(folder) = Folder::new() else { return };
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(dir.path()).expect("it starts");
    server.create_bucket("media").expect("it can be made");
    server
        .place("media", "in/film.mp4", &folder.file("in.mp4"))
        .expect("it is there");
    let words = [
        "--input",
        "-ss 1",
        "s3://media/in/film.mp4",
        "--json",
        "--output",
        "-c copy",
        "s3://media/out/film.mkv",
        "--output",
        "-vf fps=1",
        "s3://media/out/%02d.png",
    ];
    let run = || {
        folder
            .command(&words)
            .envs(server.env())
            .output()
            .expect("the program is built")
    };
    let out = run();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let report: JobReport = serde_json::from_slice(&out.stdout).expect("it is a report");
    assert_eq!((report.outputs[0].files, report.outputs[1].files), (1, 3));
    assert_eq!(report.outputs[1].url, "s3://media/out/%02d.png");
    let size = |path: &Path| std::fs::metadata(path).expect("it is there").len();
    assert_eq!(
        report.bytes_read,
        size(&folder.file("in.mp4")),
        "each byte once"
    );
    assert_eq!(
        report.outputs[0].bytes,
        size(&server.path_of("media", "out/film.mkv"))
    );
    assert_eq!(folder.listing(), ["in.mp4"]);
    // What is there stays, all of it.
    let again = run();
    assert_eq!(
        again.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    // A picture that is in the way takes the names of the others back.
    std::fs::remove_file(server.path_of("media", "out/film.mkv")).expect("it is there");
    for number in [1, 3] {
        std::fs::remove_file(server.path_of("media", &format!("out/0{number}.png")))
            .expect("it is there");
    }
    let again = run();
    assert_eq!(
        again.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert!(!server.path_of("media", "out/film.mkv").exists());
    assert!(!server.path_of("media", "out/01.png").exists());
    assert!(server.path_of("media", "out/02.png").exists());
}
