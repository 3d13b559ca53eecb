//! Container knowledge against FFmpeg itself: indexes, clips, stitching, and what is left of a remote Source.

mod common;
mod front;
mod garbage;
mod growing;
mod matroska_remote;
mod media_set;
mod rest;
mod stitch;
