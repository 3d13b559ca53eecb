//! Measurements of recode against plain FFmpeg: what every promise about speed, size, quality and safety rests on.
//!
//! A measured run is one child process started from an empty state folder, and its report must say that no Chunk was
//! reused. Runs that are compared are interleaved on the same machine and files, and a figure carries its number of
//! runs and its spread. Nothing here knows the inside of recode: it runs the binaries a user runs and reads their
//! documented report, and asks FFmpeg for the rest.
//!
//! ```text
//!   bench/*.rs   one measurement per file: what is run, what is computed
//!   client.rs    recode-client as a child: arguments in, report out       plain.rs   the same request for plain FFmpeg
//!   measure.rs   wall and CPU seconds of one child                        watch.rs   memory and descriptors of a tree
//!   site/        a cluster of processes on this machine: its networks, disks and nodes that can be broken
//!   player.rs    FFmpeg as it was recorded, so that a hundred encodes cost what one does
//!   throttle.rs FFmpeg with less processor time, so that nodes are unequal
//!   score.rs packets.rs bdrate.rs   libvmaf runs, packet lists, rate-distortion curves
//!   figure.rs    a figure, its table row and its JSON line                tools.rs   which programs are used
//! ```

pub mod bdrate;
pub mod bench;
pub mod client;
pub mod figure;
pub mod measure;
pub mod packets;
pub mod plain;
pub mod player;
pub mod score;
pub mod seed;
pub mod settings;
pub mod site;
pub mod throttle;
pub mod tools;
pub mod watch;
