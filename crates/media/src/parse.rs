//! Reading what FFmpeg prints. Pure: text in, values out; checked against recorded output of 5.1 and 9.

pub mod progress;
