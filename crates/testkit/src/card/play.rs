//! One call of the scripted FFmpeg.

use super::options::{COMMON, OPTIONS, Value};
use super::script::{Behaviour, Card, Played, Script};
use super::texts;
use recode_types::engine::ENGINE_ENCODERS;
use recode_types::{Codec, Engine};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// What FFmpeg prints and ends with instead of encoding.
type Refusal = (String, u8);

/// Plays FFmpeg with the arguments of this process. Ends as the real one does where that is called.
pub fn main() -> ExitCode {
    let folder = std::env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.to_owned()));
    let Some(folder) = folder else {
        eprintln!("recode-ffmpeg-cards does not know where it lies, and so not its script");
        return ExitCode::FAILURE;
    };
    let script = match Script::read(&folder) {
        Ok(script) => script,
        Err(e) => {
            eprintln!(
                "recode-ffmpeg-cards finds no script in {}: {e}; it is for tests, which put one beside it",
                folder.display()
            );
            return ExitCode::FAILURE;
        }
    };
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut call = Call {
        script,
        folder,
        args,
    };
    if call.args.iter().any(|a| a == "-encoders") {
        return call.list();
    }
    match call.encoder() {
        None => call.hand_over(),
        Some((at, encoder)) => match call.play(at, &encoder) {
            Ok(()) => ExitCode::SUCCESS,
            Err((text, code)) => {
                eprint!("{text}");
                ExitCode::from(code)
            }
        },
    }
}

struct Call {
    script: Script,
    folder: PathBuf,
    args: Vec<String>,
}

impl Call {
    /// Where an engine's encoder is named, and which.
    fn encoder(&self) -> Option<(usize, String)> {
        let at = self
            .args
            .windows(2)
            .position(|w| w[0] == "-c:v" && ENGINE_ENCODERS.contains(&&*w[1]))?;
        Some((at, self.args[at + 1].clone()))
    }

    fn list(&self) -> ExitCode {
        let Ok(real) = Command::new(&self.script.real).args(&self.args).output() else {
            return ExitCode::FAILURE;
        };
        let text = String::from_utf8_lossy(&real.stdout);
        let mut known: Vec<&str> = ENGINE_ENCODERS.to_vec();
        match &self.script.lists {
            // FFmpeg's legend ends with a rule.
            Some(lists) => {
                println!("Encoders:\n ------");
                known.retain(|encoder| lists.iter().any(|l| l == encoder));
            }
            None => {
                print!("{text}");
                known.retain(|encoder| !text.contains(&format!(" {encoder} ")));
            }
        }
        for encoder in known {
            println!(" V....D {encoder:<20} scripted (codec ...)");
        }
        ExitCode::SUCCESS
    }

    /// Becomes the real FFmpeg.
    fn hand_over(&self) -> ExitCode {
        let e = Command::new(&self.script.real).args(&self.args).exec();
        eprintln!("{} cannot be run: {e}", self.script.real.display());
        ExitCode::FAILURE
    }

    fn play(&mut self, at: usize, encoder: &str) -> Result<(), Refusal> {
        let engine = Engine::of_encoder(encoder).expect("it was found in the list");
        let card = self.script.cards.get(&engine).cloned();
        // FFmpeg opens devices before it reads any other argument.
        if engine == Engine::Vaapi && self.has("-init_hw_device", "vaapi=") && card.is_none() {
            return Err(texts::absent(engine, encoder));
        }
        let output = self.check_options(at + 2, encoder)?;
        if engine == Engine::Vaapi && !self.is_uploaded() {
            return Err(texts::not_uploaded());
        }
        let Some(card) = card else {
            return Err(texts::absent(engine, encoder));
        };
        if card.lacks.iter().any(|lacked| lacked == encoder) {
            return Err(texts::lacks(engine, encoder));
        }
        let before = Played::all(&self.folder)
            .iter()
            .filter(|p| p.session.is_some() && Engine::of_encoder(&p.encoder) == Some(engine))
            .count() as u32;
        if let Behaviour::LostAfter(n) = card.behaviour
            && before >= n
        {
            return Err(match before == n {
                true => {
                    self.say(encoder, Some(1));
                    texts::lost(engine)
                }
                false => texts::absent(engine, encoder),
            });
        }
        let session = self.session(engine, encoder, &card)?;
        self.translate(at, output, encoder, engine, &card, before);
        if card.behaviour == Behaviour::Crashes {
            let _ = Command::new(&self.script.real).args(&self.args).status();
            let me = rustix::process::getpid();
            loop {
                // The first one only takes away the handler that Rust has for it.
                let _ = rustix::process::kill_process(me, rustix::process::Signal::SEGV);
            }
        }
        // The lock goes with the process, and the process is now FFmpeg.
        self.hand_over();
        drop(session);
        Ok(())
    }

    fn has(&self, name: &str, beginning: &str) -> bool {
        self.args
            .windows(2)
            .any(|w| w[0] == name && w[1].starts_with(beginning))
    }

    fn is_uploaded(&self) -> bool {
        let graphs = ["-filter_complex", "-vf"];
        let uploads = self
            .args
            .windows(2)
            .any(|w| graphs.contains(&&*w[0]) && w[1].contains("hwupload"));
        uploads && self.has("-init_hw_device", "vaapi=") && self.has("-filter_hw_device", "")
    }

    /// Checks the options from `from` to the output's name, as FFmpeg would. The answer is where that stands.
    fn check_options(&self, from: usize, encoder: &str) -> Result<usize, Refusal> {
        let own = OPTIONS
            .iter()
            .find(|o| o.encoder == encoder)
            .map_or(&[][..], |o| o.own);
        let mut at = from;
        while let Some(name) = self.args.get(at).and_then(|a| a.strip_prefix('-')) {
            let name = name.split(':').next().unwrap_or(name);
            let value = self.args.get(at + 1).map_or("", String::as_str);
            match own.iter().find(|(known, _)| *known == name) {
                Some((_, Value::Word(words))) if words.contains(&value) => {}
                Some((_, Value::Number(least, most)))
                    if value
                        .parse()
                        .is_ok_and(|n: f64| n >= *least as f64 && n <= *most as f64) => {}
                Some(_) => return Err(texts::no_value(encoder, name, value)),
                None if COMMON.contains(&name) => {}
                None => return Err(texts::no_option(name)),
            }
            at += 2;
        }
        Ok(at)
    }

    fn say(&self, encoder: &str, session: Option<u32>) {
        let played = Played {
            encoder: encoder.to_owned(),
            session,
        };
        if let Err(e) = played.write(&self.folder) {
            eprintln!("recode-ffmpeg-cards cannot write its log: {e}");
        }
    }

    /// One of the card's sessions, held for as long as this process lives under whatever program.
    fn session(&self, engine: Engine, encoder: &str, card: &Card) -> Result<File, Refusal> {
        let refused = texts::no_session(engine, encoder);
        let limit = card.sessions.filter(|_| refused.is_some());
        let most = limit.unwrap_or(1000);
        for n in 1..=most {
            let path = self.folder.join(format!("{engine}-{n}.session"));
            let Ok(file) = File::create(path) else { break };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let _ = fcntl_setfd(&file, FdFlags::empty());
                self.say(encoder, Some(n));
                return Ok(file);
            }
        }
        self.say(encoder, None);
        Err(refused.unwrap_or_else(|| texts::lost(engine)))
    }

    /// Turns the arguments into those of a software encoder.
    fn translate(
        &mut self,
        at: usize,
        output: usize,
        encoder: &str,
        engine: Engine,
        card: &Card,
        before: u32,
    ) {
        let codec = Engine::codec_of(encoder).expect("it was found in the list");
        let mut quality = None;
        let mut kept = Vec::new();
        for pair in self.args[at + 2..output].chunks(2) {
            let [name, value] = pair else { continue };
            match name.as_str() {
                "-cq" | "-global_quality" | "-qp_p" | "-q:v" => quality = value.parse().ok(),
                "-b:v" => {}
                _ if COMMON.contains(&name[1..].split(':').next().unwrap_or_default()) => {
                    kept.extend([name.clone(), value.clone()]);
                }
                _ => {}
            }
        }
        let quality: f64 = quality.unwrap_or(25.0);
        let scale = match (engine, encoder) {
            (Engine::Videotoolbox, _) => (100.0 - quality) * 51.0 / 99.0,
            (_, "av1_vaapi" | "av1_amf") => quality * 63.0 / 255.0,
            _ => quality,
        };
        let mut made: Vec<String> = Vec::new();
        let mut say = |words: &[&str]| made.extend(words.iter().map(|w| (*w).to_owned()));
        let crf = format!("{scale:.0}");
        // References, or tools in AV1, are written into the parameter sets.
        let other = match card.behaviour {
            Behaviour::OtherSets => before % 6,
            _ => 0,
        };
        match codec {
            Codec::H265 => {
                let params = format!(
                    "log-level=warning:info=0:pools=none:frame-threads=1:ref={}",
                    1 + other
                );
                say(&["-c:v", "libx265", "-preset", "ultrafast", "-crf", &crf]);
                say(&["-x265-params", &params]);
            }
            Codec::Av1 => {
                let tools = format!("lp=1:enable-cdef={}", u32::from(other % 2 == 0));
                say(&["-c:v", "libsvtav1", "-preset", "12", "-crf", &crf]);
                say(&["-svtav1-params", &tools]);
            }
            _ => {
                let params = format!("stitchable=1:ref={}", 1 + other);
                say(&["-c:v", "libx264", "-preset", "ultrafast", "-crf", &crf]);
                say(&["-threads", "1", "-x264-params", &params]);
            }
        }
        made.extend(kept);
        if card.behaviour == Behaviour::Crashes {
            made.extend(["-frames:v", "5"].map(str::to_owned));
        }
        self.args.splice(at..output, made);
        let picture = match card.behaviour {
            Behaviour::Green => ",lutyuv=y=16:u=0:v=0",
            Behaviour::Negative => ",negate",
            Behaviour::DropsFrames => ",select='mod(n+1\\,3)',setpts=N",
            _ => "",
        };
        let mut i = 0;
        while i < self.args.len() {
            match self.args[i].as_str() {
                "-init_hw_device" | "-filter_hw_device" => {
                    self.args.drain(i..i + 2);
                    continue;
                }
                "-filter_complex" | "-vf" => {
                    let graph = self.args[i + 1].replace(",hwupload", "");
                    self.args[i + 1] = with_picture(&graph, picture);
                }
                _ => {}
            }
            i += 1;
        }
    }
}

/// Puts `filter` before the way out that goes to an encoder.
fn with_picture(graph: &str, filter: &str) -> String {
    let is_way_out = |name: &str| {
        name.strip_prefix('v')
            .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    match graph.strip_suffix(']').and_then(|g| g.rsplit_once('[')) {
        Some((head, name)) if is_way_out(name) => format!("{head}{filter}[{name}]"),
        _ => graph.to_owned(),
    }
}
