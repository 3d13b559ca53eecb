//! FFmpeg and containers; knows nothing of jobs

pub mod parse;
pub mod run;
pub mod sandbox;
pub mod toolchain;
