//! Reading what FFmpeg prints. Pure: text in, values out; checked against recorded output of 5.1 and 9.

pub mod banner;
pub mod framecrc;
pub mod progress;
pub mod showinfo;
