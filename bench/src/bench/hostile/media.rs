//! Hostile files: lists that name other files and hosts, whatever they are called; bombs; heads that lie.

use super::canary::{HOST, Targets};

/// One hostile file.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// Its name; the ending is part of the attack.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// What an FFmpeg without any care is told before `-i`, so that the attack is not stopped by FFmpeg's own rules.
    pub careless: Vec<&'static str>,
}

const HLS: &[&str] = &[
    "-f",
    "hls",
    "-allowed_extensions",
    "ALL",
    "-allowed_segment_extensions",
    "ALL",
    "-extension_picky",
    "0",
    "-max_reload",
    "3",
];
const CONCAT: &[&str] = &["-f", "concat", "-safe", "0"];
const DASH: &[&str] = &["-f", "dash", "-allowed_extensions", "ALL"];
const SDP: &[&str] = &["-f", "sdp"];

/// All of them. `sample`: a whole MP4 of a few seconds.
pub fn corpus(at: &Targets, sample: &[u8]) -> Vec<Hostile> {
    let mut all = Vec::new();
    all.extend(playlists(at));
    all.extend(manifests(at));
    all.extend(scripts(at));
    all.extend(sessions(at));
    all.extend(bombs());
    all.extend(liars(sample));
    all
}

/// Ways to name something else.
fn addresses(at: &Targets) -> Vec<(&'static str, String)> {
    let secrets = at.secrets.display();
    let (tcp, udp) = (at.tcp, at.udp);
    vec![
        ("absolute", format!("{secrets}/secret.ts")),
        ("relative", "../secrets/secret.ts".to_owned()),
        ("file-url", format!("file://{secrets}/secret.ts")),
        (
            "concat-protocol",
            format!("concat:{secrets}/secret.ts|{secrets}/secret.ts"),
        ),
        (
            "subfile",
            format!("subfile,,start,0,end,0,,:{secrets}/secret.ts"),
        ),
        ("cache", format!("cache:{secrets}/secret.ts")),
        ("tcp", format!("tcp://127.0.0.1:{tcp}")),
        ("http", format!("http://127.0.0.1:{tcp}/a.ts")),
        ("rtmp", format!("rtmp://127.0.0.1:{tcp}/a/b")),
        ("gopher", format!("gopher://127.0.0.1:{tcp}/0")),
        ("rtp", format!("rtp://127.0.0.1:{udp}")),
        ("dns", format!("http://{HOST}/a.ts")),
    ]
}

fn hostile(name: String, text: impl Into<Vec<u8>>, careless: &[&'static str]) -> Hostile {
    Hostile {
        name,
        bytes: text.into(),
        careless: careless.to_vec(),
    }
}

fn playlists(at: &Targets) -> Vec<Hostile> {
    let head = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:0\n";
    let end = "#EXT-X-ENDLIST\n";
    let mut all = Vec::new();
    for (ending, (what, address)) in ["m3u8", "mp4", "mkv"]
        .into_iter()
        .cycle()
        .zip(addresses(at))
    {
        let text = format!("{head}#EXTINF:1,\n{address}\n{end}");
        all.push(hostile(format!("hls-{what}.{ending}"), text, HLS));
    }
    let secret = at.secrets.join("secret.ts");
    let secret = secret.display();
    for (what, body) in [
        (
            "key",
            format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{secret}\"\n#EXTINF:1,\ndata:,x\n"),
        ),
        (
            "map",
            format!("#EXT-X-MAP:URI=\"{secret}\"\n#EXTINF:1,\n{secret}\n"),
        ),
        (
            "byte-range",
            format!("#EXTINF:1,\n#EXT-X-BYTERANGE:100@0\n{secret}\n"),
        ),
        (
            "host-key",
            format!(
                "#EXT-X-KEY:METHOD=AES-128,URI=\"http://127.0.0.1:{}/k\"\n#EXTINF:1,\n{secret}\n",
                at.tcp
            ),
        ),
    ] {
        all.push(hostile(
            format!("hls-{what}.mov"),
            format!("{head}{body}{end}"),
            HLS,
        ));
    }
    let variant = format!(
        "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"a\",URI=\"http://127.0.0.1:{}/v.m3u8\"\n\
         #EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\nhttp://127.0.0.1:{}/w.m3u8\n",
        at.tcp, at.tcp
    );
    all.push(hostile("hls-variant.webm".to_owned(), variant, HLS));
    // Its own next piece, for ever.
    let endless = format!("{head}#EXTINF:1,\nhls-endless.m3u8\n");
    all.push(hostile("hls-endless.m3u8".to_owned(), endless, HLS));
    all
}

fn manifests(at: &Targets) -> Vec<Hostile> {
    let mut all = Vec::new();
    for (what, address) in addresses(at) {
        if !["absolute", "file-url", "http", "tcp", "dns", "relative"].contains(&what) {
            continue;
        }
        let text = format!(
            "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
             mediaPresentationDuration=\"PT2S\" minBufferTime=\"PT1S\" profiles=\"urn:mpeg:dash:profile:isoff-on-demand:2011\">\n\
             <Period><AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1000\" width=\"160\" \
             height=\"120\" codecs=\"avc1.42c00b\"><BaseURL>{address}</BaseURL></Representation></AdaptationSet></Period></MPD>\n"
        );
        all.push(hostile(format!("dash-{what}.mp4"), text, DASH));
    }
    let entity = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE a [<!ENTITY e SYSTEM \"file://{}/secret.txt\">]>\n\
         <MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><Period>&e;</Period></MPD>\n",
        at.secrets.display()
    );
    all.push(hostile("dash-entity.mpd".to_owned(), entity, DASH));
    all
}

fn scripts(at: &Targets) -> Vec<Hostile> {
    let endings = ["mp4", "mkv", "ffconcat"].into_iter().cycle();
    let mut all: Vec<_> = endings
        .zip(addresses(at))
        .map(|(ending, (what, address))| {
            let text = format!("ffconcat version 1.0\nfile '{address}'\n");
            hostile(format!("concat-{what}.{ending}"), text, CONCAT)
        })
        .collect();
    let secrets = at.secrets.display();
    let options = format!(
        "ffconcat version 1.0\nfile '{secrets}/secret.mp4'\noption enable_drefs 1\noption use_absolute_path 1\n"
    );
    all.push(hostile("concat-options.mp4".to_owned(), options, CONCAT));
    let chunk = format!(
        "<?xml version=\"1.0\"?><?vob sub?>\n# VobSub index file, v7\nid: en, index: 0\n{secrets}\n"
    );
    all.push(hostile("vobsub.idx".to_owned(), chunk, &["-f", "vobsub"]));
    let avs = format!("FFmpegSource2(\"{secrets}/secret.mp4\")\n");
    all.push(hostile("script.avs".to_owned(), avs, &["-f", "avisynth"]));
    let graph = format!("movie={secrets}/secret.mp4\n");
    all.push(hostile("graph.lavfi".to_owned(), graph, &[]));
    all
}

fn sessions(at: &Targets) -> Vec<Hostile> {
    let session = |host: &str, port: u16, kind: &str| {
        format!(
            "v=0\no=- 0 0 IN IP4 {host}\ns=x\nc=IN IP4 {host}\nt=0 0\nm=video {port} {kind} 96\na=rtpmap:96 H264/90000\n"
        )
    };
    vec![
        hostile(
            "session.sdp".to_owned(),
            session("127.0.0.1", at.udp, "RTP/AVP"),
            SDP,
        ),
        hostile(
            "session.mp4".to_owned(),
            session(HOST, 5004, "RTP/AVP"),
            SDP,
        ),
        hostile(
            "session.mkv".to_owned(),
            session("127.0.0.1", at.tcp, "TCP/RTP/AVP"),
            SDP,
        ),
    ]
}

/// Small files that ask for much.
fn bombs() -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, size) in [
        ("wide", "65535x16"),
        ("tall", "16x65535"),
        ("huge", "32000x32000"),
    ] {
        let (width, height) = size.split_once('x').unwrap_or_default();
        let head = format!("YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C420jpeg\nFRAME\n");
        all.push(hostile(format!("bomb-{name}.y4m"), head, &[]));
    }
    let mut gif = b"GIF89a\xff\xff\xff\xff\xf7\x00\x00".to_vec();
    gif.extend([0u8; 768]);
    gif.extend(b"\x2c\x00\x00\x00\x00\xff\xff\xff\xff\x00\x08\x02\x00\x00\x00\x3b");
    all.push(hostile("bomb.gif".to_owned(), gif, &[]));
    // A transport stream whose program table names thousands of streams.
    let mut ts = Vec::new();
    for packet in 0..4_000u32 {
        let pid = 0x20 + packet % 8_000;
        let mut bytes = vec![0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10];
        bytes.extend(b"\x00\x00\x01\xe0\x00\x00\x80\x80\x05\x21\x00\x01\x00\x01");
        bytes.resize(188, 0xff);
        ts.extend(bytes);
    }
    all.push(hostile("bomb-streams.ts".to_owned(), ts, &[]));
    let mut avi = b"RIFF\xff\xff\xff\x7fAVI LIST\xff\xff\xff\x7fhdrlavih8\x00\x00\x00".to_vec();
    avi.extend([0xff; 56]);
    all.push(hostile("bomb.avi".to_owned(), avi, &[]));
    // Matroska, sizes unknown all the way down.
    let mut mkv = b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff".to_vec();
    for _ in 0..2_000 {
        mkv.extend(b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff");
    }
    all.push(hostile("bomb-nested.mkv".to_owned(), mkv, &[]));
    all
}

/// A whole file with one lie each.
fn liars(sample: &[u8]) -> Vec<Hostile> {
    let mut all = Vec::new();
    for share in [1, 5, 50, 95] {
        let bytes = &sample[..sample.len() * share / 100];
        all.push(hostile(format!("cut-{share}.mp4"), bytes, &[]));
    }
    // The number of entries, or the size, of a table of the index.
    for table in [
        b"stsz", b"stco", b"stsc", b"stts", b"ctts", b"dref", b"stsd", b"elst", b"mvhd", b"moov",
    ] {
        let Some(at) = sample.windows(4).position(|four| four == table) else {
            continue;
        };
        let name = String::from_utf8_lossy(table).into_owned();
        let mut many = sample.to_vec();
        let end = (at + 16).min(many.len());
        many[at + 8..end].fill(0xff);
        all.push(hostile(format!("many-{name}.mp4"), many, &[]));
        let mut large = sample.to_vec();
        large[at - 4..at].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        all.push(hostile(format!("large-{name}.mp4"), large, &[]));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_and_each_has_a_name_of_its_own() {
        let at = Targets {
            secrets: "/s".into(),
            outside: "/o".into(),
            program: "/p".into(),
            tcp: 1,
            udp: 2,
        };
        let sample = b"....moov....mvhd........stsz........stco........................".repeat(4);
        let all = corpus(&at, &sample);
        assert!(all.len() >= 60, "{}", all.len());
        let names: std::collections::BTreeSet<_> = all.iter().map(|h| &h.name).collect();
        assert_eq!(names.len(), all.len());
    }
}
