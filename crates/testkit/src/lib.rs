//! For tests and benches only: servers in this process that count what they send and misbehave on demand, and fuzzing, and an
//! FFmpeg with scripted cards.

pub mod card;
pub mod fuzz;
pub mod http;
pub mod metadata;
pub mod nats;
pub mod s3;

mod serve;
