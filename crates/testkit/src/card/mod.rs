//! An FFmpeg with cards: for machines that have none.
//!
//! The program `recode-ffmpeg-cards`, beside a script, behaves as the real FFmpeg it names, and lists every engine's encoders
//! besides. An encode by one of them is checked as FFmpeg would (options, values, device, upload), then made by a software
//! encoder of the same codec, or fails with FFmpeg's own words, as the script says.
//!
//! What it cannot show: what a driver makes of arguments that FFmpeg accepts, real speeds, real pictures.

mod options;
mod play;
mod script;
mod texts;

pub use options::{OPTIONS, Options, Value};
pub use play::main;
pub use script::{Behaviour, Card, Played, Script};
