//! FFmpeg and containers; knows nothing of jobs

pub mod args;
pub mod bytes;
pub mod clip;
pub mod hardware;
pub mod index;
pub mod matroska;
pub mod memory;
pub mod mp4;
pub mod parse;
pub mod probe;
pub mod rest;
pub mod run;
pub mod sandbox;
pub mod score;
pub mod toolchain;
pub mod verify;
