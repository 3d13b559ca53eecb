//! An argument list in the making.

use std::ffi::OsString;
use std::path::Path;

/// What an input may be read through: nothing that leads to another machine, another format or another place of the file.
const PROTOCOLS: &str = "file,pipe";

/// Demuxers that read the one file they are given. Left out are those that open what a file names (playlists, scripts,
/// references, numbered pictures, volumes) and those that listen; FFmpeg picks them by content, whatever the file is called.
const FORMATS: &str = "mov,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,live_flv,asf,asf_o,ogg,mxf,gxf,nut,nuv,rm,ivr,wtv,\
    ty,pva,nsv,dv,dhav,lxf,lmlm4,vivo,swf,kux,ivf,obu,av1,h261,h263,h264,hevc,vvc,evc,m4v,vc1,vc1test,cavsvideo,avs2,avs3,dirac,\
    dnxhd,mjpeg,jpeg_pipe,mjpeg_2000,smjpeg,ingenient,ipu,v210,v210x,yuv4mpegpipe,gif,apng,webp_anim,jpegxl_anim,flic,filmstrip,\
    cine,ser,r3d,4xm,amv,anm,apv,avs,bethsoftvid,bfi,bink,bmv,c93,cdg,cdxl,dfa,dsicin,dxa,ea,film_cpk,frm,gdv,hnm,hxvs,idcin,\
    iff,ifv,ipmovie,iv8,jv,luodat,lvf,mgsts,mm,mods,moflex,msnwctcp,mtv,mv,mvi,mxg,nc,paf,pdv,pmp,psxstr,rl2,roq,rpl,sga,siff,\
    simbiosis_imx,smk,smush,svs,thp,tiertexseq,tmv,txd,usm,vividas,vmd,wc3movie,wsvqa,xmv,yop,aac,ac3,eac3,aiff,amr,ape,au,caf,\
    dts,flac,mp3,truehd,tta,w64,wav,wv";

#[derive(Debug, Default)]
pub(crate) struct List(pub Vec<OsString>);

impl List {
    pub(crate) fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    pub(crate) fn opt(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.to_string().into());
        self
    }

    pub(crate) fn input(&mut self, path: &Path) -> &mut Self {
        self.only_itself();
        self.0.push("-i".into());
        self.file(path)
    }

    /// What stands in front of every input: FFmpeg opens this one, and nothing that it names.
    pub(crate) fn only_itself(&mut self) -> &mut Self {
        self.opt("-protocol_whitelist", PROTOCOLS);
        self.opt("-format_whitelist", FORMATS)
    }

    /// A file by its path. `file:` keeps FFmpeg from reading a protocol or an option out of the name.
    pub(crate) fn file(&mut self, path: &Path) -> &mut Self {
        let mut name = OsString::from("file:");
        name.push(path);
        self.0.push(name);
        self
    }
}

#[cfg(test)]
pub(crate) fn shown(args: &[OsString]) -> String {
    let mut words = Vec::new();
    let mut args = args.iter().map(|a| a.to_string_lossy().into_owned());
    while let Some(word) = args.next() {
        // The same in front of every input, and long.
        if ["-protocol_whitelist", "-format_whitelist"].contains(&word.as_str()) {
            args.next();
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_is_opened_for_itself_alone() {
        let mut list = List::default();
        list.input(Path::new("/a")).input(Path::new("/b"));
        let words: Vec<_> = list.0.iter().map(|a| a.to_str().unwrap()).collect();
        let inputs = words.iter().filter(|w| **w == "-i").count();
        assert_eq!(inputs, 2);
        for (n, _) in words.iter().enumerate().filter(|(_, w)| **w == "-i") {
            let before = &words[n - 4..n];
            assert_eq!(
                before,
                [
                    "-protocol_whitelist",
                    PROTOCOLS,
                    "-format_whitelist",
                    FORMATS
                ]
            );
        }
        let formats: Vec<_> = FORMATS.split(',').collect();
        for opens_others in [
            "hls",
            "dash",
            "concat",
            "image2",
            "sdp",
            "rtsp",
            "rtp",
            "lavfi",
            "vobsub",
            "imf",
            "mlv",
            "avisynth",
            "vapoursynth",
            "webm_dash_manifest",
            "image2_alias_pix",
            "mpjpeg",
            "tedcaptions",
        ] {
            assert!(!formats.contains(&opens_others), "{opens_others}");
        }
        assert!(
            FORMATS
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b",_".contains(&b))
        );
    }
}
