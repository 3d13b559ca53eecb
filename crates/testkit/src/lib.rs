//! For tests and benches only: servers that count what they send and misbehave on demand, what the exchange of nodes with a
//! coordinator promises, fuzzing, requests, and an FFmpeg with scripted cards.

pub mod card;
pub mod conformance;
pub mod fuzz;
pub mod http;
pub mod metadata;
pub mod nats;
pub mod request;
pub mod s3;

mod serve;
