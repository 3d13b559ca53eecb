//! What a scripted FFmpeg is to do, and what it did.

use recode_types::Engine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The file beside the program.
pub(super) const SCRIPT: &str = "cards.json";
const LOG: &str = "played.log";

/// What the machine has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    /// The FFmpeg that does the work.
    pub real: PathBuf,
    /// Cards; engines that are not named have none.
    pub cards: BTreeMap<Engine, Card>,
    /// Encoders that are listed; `None`: all of the real one's and all of every engine's.
    pub lists: Option<Vec<String>>,
}

/// One card.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Card {
    /// How it behaves.
    pub behaviour: Behaviour,
    /// Encodes at once; `None`: without limit.
    pub sessions: Option<u32>,
    /// Encoders it does not have.
    pub lacks: Vec<String>,
}

/// How a card behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// As it should.
    #[default]
    Works,
    /// The process dies by SIGSEGV after a few frames.
    Crashes,
    /// Every picture is green.
    Green,
    /// Every picture is the negative of what it should be.
    Negative,
    /// One frame in three is missing.
    DropsFrames,
    /// Parameter sets differ from one encode to the next.
    OtherSets,
    /// Works for this many encodes; after that the card is gone.
    LostAfter(u32),
}

/// One encode that was asked of a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// The encoder.
    pub encoder: String,
    /// Encodes at that moment, this one included; `None`: refused.
    pub session: Option<u32>,
}

impl Script {
    /// Puts the program and its script into `folder`; the answer is its path. `program` is `recode-ffmpeg-cards` as built.
    /// # Errors
    /// The folder cannot be written.
    pub fn install(&self, program: &Path, folder: &Path) -> std::io::Result<PathBuf> {
        let ffmpeg = folder.join("ffmpeg");
        std::fs::copy(program, &ffmpeg)?;
        self.rewrite(folder)?;
        Ok(ffmpeg)
    }

    /// Replaces the script: the cards behave otherwise from now on.
    /// # Errors
    /// The folder cannot be written.
    pub fn rewrite(&self, folder: &Path) -> std::io::Result<()> {
        let beside = folder.join("cards.new");
        std::fs::write(&beside, serde_json::to_vec(self)?)?;
        std::fs::rename(beside, folder.join(SCRIPT))
    }

    pub(super) fn read(folder: &Path) -> std::io::Result<Self> {
        let bytes = std::fs::read(folder.join(SCRIPT))?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

impl Played {
    /// Everything that was asked of the cards of the program in `folder`, in order.
    pub fn all(folder: &Path) -> Vec<Self> {
        let text = std::fs::read_to_string(folder.join(LOG)).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let (encoder, session) = line.split_once(' ')?;
                Some(Self {
                    encoder: encoder.to_owned(),
                    session: session.parse().ok(),
                })
            })
            .collect()
    }

    /// Short lines written at once do not mix, whoever else writes.
    pub(super) fn write(&self, folder: &Path) -> std::io::Result<()> {
        let session = self.session.map_or("-".to_owned(), |n| n.to_string());
        let line = format!("{} {session}\n", self.encoder);
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(LOG))?
            .write_all(line.as_bytes())
    }
}
