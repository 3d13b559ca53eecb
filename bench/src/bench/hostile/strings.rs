//! Hostile option strings: what reaches files, hosts and programs where it reaches FFmpeg as it is.

use super::canary::{HOST, Targets};

/// Filters with the path of a file that they read in place of `@`.
const READERS: &[&str] = &[
    "movie=@",
    "movie=filename=@:f=mp4",
    "amovie=@",
    "drawtext=textfile=@",
    "drawtext=fontfile=@:text=x",
    "drawtext=text='a\\':textfile=@",
    "subtitles=@",
    "subtitles=filename='@'",
    "ass=@",
    "lut3d=file=@",
    "lut1d=file=@",
    "curves=psfile=@",
    "sendcmd=f=@",
    "removelogo=@",
    "find_rect=object=@",
    "vidstabtransform=input=@",
    "libvmaf=model=path=@",
    "arnndn=m=@",
    "null,movie=@",
    "null[a];movie=@[b];[a][b]overlay",
    "scale=1:1,drawtext=textfile=@:reload=1",
    "libplacebo=custom_shader_path=@",
    "frei0r=filter_name=@",
    "ladspa=file=@",
    "select='eq(n,0)',movie=@",
];

/// Filters with the path of a file that they write.
const WRITERS: &[&str] = &[
    "metadata=print:file=@",
    "metadata=mode=print:file='@'",
    "signature=filename=@",
    "vidstabdetect=result=@",
    "split[a][b];[a][b]psnr=stats_file=@",
    "split[a][b];[a][b]ssim=stats_file=@",
    "split[a][b];[a][b]libvmaf=log_path=@",
    "null,metadata=print:file=@",
    "signalstats,metadata=print:file=@",
    "siti=print_summary=1,metadata=print:file=@",
];

/// Options with the path of a file that they read.
const READING: &[&str] = &[
    "-i @",
    "-i file:@",
    "-i concat:@",
    "-i subfile,,start,0,end,0,,:@",
    "-i cache:@",
    "-i async:@",
    "-attach @",
    "-filter_script:v @",
    "-/filter:v @",
    "-filter_complex_script @",
    "-c:v libx264 -x264-params qpfile=@",
    "-c:v libx264 -x264opts cqmfile=@",
    "-c:v libx265 -x265-params lambda-file=@",
    "-c:v libx265 -x265-params scaling-list=@",
    "-fpre @",
    "-/vf @",
    "-/metadata @",
    "-init_hw_device opencl=x:@",
    "-c:v libx265 -x265-params zonefile=@",
    "-c:v libx264 -pass 2 -passlogfile @",
];

/// Options with the path of a file that they write.
const WRITING: &[&str] = &[
    "-f null @",
    "-f mp4 @",
    "-f mpegts file:@",
    "-f data @",
    "-f md5 @",
    "-f framecrc @",
    "-f tee [f=framecrc]@|[f=md5]@.2",
    "-f segment -segment_list @ @.ts",
    "-f hls @",
    "-f dash @",
    "-f image2 -frames:v 1 @.png",
    "-vstats_file @",
    "-progress @",
    "-sdp_file @",
    "-c:v libx264 -pass 1 -passlogfile @ -f null -",
    "-c:v libx264 -x264-params stats=@:pass=1 -f null -",
    "-c:v libx265 -x265-params csv=@:csv-log-level=1 -f null -",
    "-c:v libx265 -x265-params analysis-save=@ -f null -",
    "-stats_enc_post @ -f null -",
    "-stats_mux_pre @ -f null -",
    "-f mpegts cache:@",
    "-f mpegts async:@",
    "-f mpegts crypto:@",
    "-f stream_segment @",
    "-f chromaprint @",
    "-f ffmetadata @",
    "-print_graphs_file @",
    "-f smoothstreaming @",
];

/// Addresses of another machine, with `@` for TCP and `%` for UDP.
const HOSTS: &[&str] = &[
    "-i tcp://@",
    "-i http://@/x",
    "-i rtmp://@/x/y",
    "-i ftp://@/x",
    "-i gopher://@/0",
    "-i rtsp://@/x",
    "-i mmst://@/x",
    "-i icecast://@/x",
    "-i httpproxy://@/x",
    "-i tls://@",
    "-i https://@/x",
    "-f mpegts tcp://@",
    "-f flv rtmp://@/x",
    "-f mp4 http://@/x",
    "-f mpegts udp://%",
    "-f rtp rtp://%",
    "-f mpegts srt://%",
    "-f rtsp rtsp://@/x",
    "-f mpegts rist://%",
    "-f rtp_mpegts rtp://%",
    "-f mpegts prompeg://%",
    "-progress tcp://@",
    "-progress http://@/x",
    "-vf movie=tcp\\\\://@",
    "-vf zmq=bind_address=tcp\\\\://@",
    "-vf subtitles=http\\\\://@/x",
    "-i unix:///run/x",
    "-f mpegts udplite://%",
];

/// What a shell would make of it, and what climbs or hides.
const TRICKS: &[&str] = &[
    "; touch @",
    "$(touch @)",
    "`touch @`",
    "| touch @",
    "&& touch @",
    "\n-y\n@",
    "x\0-y\0@",
    "../../../../../../@",
    "%2e%2e%2f@",
    "-y",
    "--",
    "-",
    "-report",
    "-h",
    "file:@",
    "pipe:1",
    "fd:",
    "data:,x",
    "medium -y @",
    "medium\t-y\t@",
    "'medium' @",
    "medium:stats=@",
    "slow=@",
    "film,@",
    "high\\:@",
    "yuv420p,movie=@",
    "yuv420p[x];movie=@",
    "all,-y,@",
    "libx264 -y @",
    "libx264:stats=@",
    "23 -y @",
    "23;movie=@",
    "1280x720,movie=@",
    "1280x720:flags=@",
    "25,movie=@",
    "vmaf:log_path=@",
    "vmaf=model=path=@",
    "1e999",
    "nan",
    "inf",
    "-1",
    "99999999999999999999",
    "0x7fffffffffffffff",
    "\u{202e}mp4",
    "\u{ff0e}\u{ff0e}/@",
];

/// All of them, each as one string.
pub fn strings(at: &Targets) -> Vec<String> {
    let secret = at.secrets.join("secret.mp4").display().to_string();
    let words = at.secrets.join("secret.txt").display().to_string();
    let made = at.outside.join("made").display().to_string();
    let tcp = format!("127.0.0.1:{}", at.tcp);
    let udp = format!("127.0.0.1:{}", at.udp);
    let mut all = Vec::new();
    for filter in READERS {
        let path = match filter.contains("movie") {
            true => &secret,
            false => &words,
        };
        all.push(format!("-vf {}", filter.replace('@', path)));
    }
    all.extend(
        WRITERS
            .iter()
            .map(|f| format!("-vf {}", f.replace('@', &made))),
    );
    all.extend(READING.iter().map(|o| o.replace('@', &secret)));
    all.extend(WRITING.iter().map(|o| o.replace('@', &made)));
    all.extend(
        HOSTS
            .iter()
            .map(|o| o.replace('@', &tcp).replace('%', &udp)),
    );
    all.extend(
        ["-i http://@/x", "-f mpegts tcp://@:80", "-i rtsp://@/x"].map(|o| o.replace('@', HOST)),
    );
    all.extend(TRICKS.iter().map(|o| o.replace('@', &made)));
    all
}

/// Every flag of `recode-client transcode` whose value has a say in what FFmpeg is told.
pub const FLAGS: &[&str] = &[
    "--codec",
    "--encoder",
    "--crf",
    "--bitrate",
    "--size",
    "--maxrate",
    "--bufsize",
    "--preset",
    "--tune",
    "--encoder-profile",
    "--profile",
    "--scale",
    "--fps",
    "--deinterlace",
    "--pix-fmt",
    "--gop",
    "--tracks",
    "--audio-codec",
    "--audio-bitrate",
    "--start",
    "--duration",
    "--segment",
    "--score",
    "--verify",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_and_no_two_are_the_same() {
        let at = Targets {
            secrets: "/s".into(),
            outside: "/o".into(),
            program: "/p".into(),
            tcp: 1,
            udp: 2,
        };
        let all = strings(&at);
        assert!(all.len() >= 150, "{}", all.len());
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(all.iter().all(|s| !s.contains('@')));
    }
}
