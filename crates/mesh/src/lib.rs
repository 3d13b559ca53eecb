//! How recode processes find and talk to each other. Everybody else sees typed calls and streams, never a channel.
//!
//! This is the one layer that retries: [`retry`] says how often and how long, and nothing below or above repeats a
//! request. Every request carries an id or a fencing token, so repeating one is always safe.

pub mod cluster;
mod error;
mod feed;
pub mod jobs;
pub mod leader;
pub mod nats;
pub mod nodes;
pub mod report;
pub mod retry;
pub mod subjects;
pub mod watch;

pub use cluster::Cluster;
pub use error::Error;
pub use jobs::{JobPage, JobView, Jobs};
pub use leader::Leader;
pub use nats::Nats;
pub use nodes::Nodes;
pub use report::{Exchange, Link};
pub use subjects::Subjects;
pub use watch::{LogQuery, Logged, Watched};
