//! What a Matroska file shows, read while FFmpeg writes it.

use crate::common::{ffmpeg, have_ffmpeg, run};
use recode_media::bytes::FileSource;
use recode_media::index;
use recode_media::matroska::Growing;
use recode_types::TrackKind;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Larger than all that FFmpeg writes at a time.
const FONT_BYTES: usize = 3 << 20;

/// Noise with sound, a subtitle, chapters and an attached file.
fn film(dir: &Path) -> PathBuf {
    let text = "1\n00:00:01,000 --> 00:00:02,000\nOne\n\n2\n00:00:05,000 --> 00:00:07,500\nTwo\n";
    std::fs::write(dir.join("s.srt"), text).unwrap();
    std::fs::write(
        dir.join("c.txt"),
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=5000\ntitle=A\n",
    )
    .unwrap();
    std::fs::write(dir.join("font.ttf"), vec![7; FONT_BYTES]).unwrap();
    let film = dir.join("film.mkv");
    let at = |name: &str| dir.join(name).display().to_string();
    let args = format!(
        "-v error -f lavfi -i color=gray:s=320x180:r=25:d=9,noise=alls=60:allf=t -f lavfi -i sine=d=9 -i {} -i {} -map 0 \
         -map 1 -map 2 -map_metadata 3 -c:v mpeg4 -q:v 3 -bf 2 -c:a flac -c:s srt -attach {} \
         -metadata:s:t mimetype=application/x-truetype-font {}",
        at("s.srt"),
        at("c.txt"),
        at("font.ttf"),
        film.display()
    );
    let (_, log) = run(&ffmpeg(), &args.split_whitespace().collect::<Vec<_>>());
    assert_eq!(log, "");
    film
}

/// What was seen of a film that was written.
struct Watched {
    growing: Growing,
    file: Arc<File>,
    /// What was settled, from the first cluster on.
    taken: Vec<u8>,
    first_cluster: u64,
    /// Looks at which there was more.
    looks: usize,
}

/// Writes a film, looking again and again. What was settled is copied, and then overwritten: nobody may need it.
fn watched(args: &str, out: &Path) -> Watched {
    File::create(out).unwrap();
    let file = Arc::new(File::options().read(true).write(true).open(out).unwrap());
    let mut child = Command::new(ffmpeg())
        .args(args.split_whitespace())
        .arg(out)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut growing = Growing::default();
    let (mut taken, mut first, mut at, mut looks) = (Vec::new(), 0, 0, 0);
    loop {
        let ended = child.try_wait().unwrap();
        let size = file.metadata().unwrap().len();
        if let Some(walked) = growing.look(&file, size).unwrap() {
            assert!(first == 0 || first == walked.first_cluster);
            first = walked.first_cluster;
            at = at.max(first);
            assert!(walked.until >= at && walked.until <= size);
            let mut bytes = vec![0; (walked.until - at) as usize];
            file.read_exact_at(&mut bytes, at).unwrap();
            file.write_all_at(&vec![0; bytes.len()], at).unwrap();
            taken.extend_from_slice(&bytes);
            looks += usize::from(walked.until > at);
            at = walked.until;
        }
        if let Some(status) = ended {
            assert!(status.success());
            return Watched {
                growing,
                file,
                taken,
                first_cluster: first,
                looks,
            };
        }
    }
}

#[tokio::test]
async fn what_has_been_walked_over_is_final_and_shows_what_the_whole_file_shows() {
    if !have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let film = film(dir.path());
    for (container, codecs) in [
        ("matroska", "-map 0 -c copy"),
        (
            "webm",
            "-map 0:v -map 0:a -c:v libvpx-vp9 -b:v 3M -deadline realtime -cpu-used 8 -auto-alt-ref 1 -lag-in-frames 12 \
             -c:a libopus -ac 2",
        ),
    ] {
        let args = format!(
            "-v error -y -i {} {codecs} -strict -2 -fflags +bitexact -threads 1 -f {container}",
            film.display()
        );
        let plain = dir.path().join("plain");
        let whole = format!("{args} {}", plain.display());
        let (_, log) = run(&ffmpeg(), &whole.split_whitespace().collect::<Vec<_>>());
        assert_eq!(log, "");
        let out = dir.path().join(container);
        let watched = watched(&args, &out);
        let first = watched.first_cluster;
        if container == "webm" {
            assert!(watched.looks > 1, "a cluster takes 5 s, and the film 9");
        }
        let wanted = std::fs::read(&plain).unwrap();
        assert!(watched.taken == wanted[first as usize..], "{container}");
        // Only the front is left, and it is that of the ordinary way.
        let left = std::fs::read(&out).unwrap();
        assert!(left[..first as usize] == wanted[..first as usize]);
        assert!(left[first as usize..].iter().all(|byte| *byte == 0));
        if container == "matroska" {
            assert!(first > FONT_BYTES as u64, "attached files come first");
        }
        let tracks = watched.growing.finish(&watched.file).unwrap();
        let shown = tracks[0].frame_table();
        let source = FileSource::open(&plain).unwrap();
        let index = index::read(&source).await.unwrap().unwrap();
        let video = index.tracks.iter().find(|t| t.kind == TrackKind::Video);
        let table = index.frame_table(video.unwrap().stream).unwrap();
        assert_eq!(shown.rows.len(), 225, "{container}");
        assert_eq!(shown, table, "{container}");
    }
}

#[test]
fn a_file_that_was_not_finished_is_refused() {
    if !have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = film(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let finish = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Growing::default().finish(&Arc::new(File::open(&path).unwrap()))
    };
    assert!(finish(&whole).is_ok());
    for length in [0, 100, FONT_BYTES, whole.len() / 2, whole.len() - 1] {
        let refused = finish(&whole[..length]).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData, "{length}");
    }
    // A block whose bytes are not there.
    let mut damaged = whole.clone();
    let at = whole.len() / 2;
    damaged[at..at + (1 << 16)].fill(0);
    assert!(finish(&damaged).is_err());
}
