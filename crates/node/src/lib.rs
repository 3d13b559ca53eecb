//! The node: runs Attempts. A peer of every other node; it decides nothing.
//!
//! [`assembly::start`] puts it together: the reporter ([`actor::reporter`]) talks to the Leader and owns the Attempts;
//! each Attempt is one run of [`run`], with a directory of [`scratch`] and a slot of [`slots`]. How it goes is [`leaving`].

pub mod actor;
pub mod assembly;
pub mod blocks;
pub mod budget;
pub mod cache;
pub mod imds;
pub mod labels;
pub mod leaving;
pub mod look;
pub mod measure;
pub mod peer;
pub mod proof;
pub mod ration;
pub mod run;
pub mod scratch;
pub mod slots;
pub mod source;
pub mod units;

// The client finds FFmpeg and checks an encoder's words before it starts a node, so that mistakes are said at once.
pub use recode_media::args::encoder;
pub use recode_media::memory;
pub use recode_media::sandbox;
pub use recode_media::toolchain;
