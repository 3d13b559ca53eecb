//! Bytes that outlive a process: Sources are read through here, artifacts and Outputs are written through here.
//!
//! * [`url`] says where something is: a path, `file://`, `s3://` or `http(s)://`.
//! * [`source`] reads an immutable Source by byte range and notices when it changes.
//! * [`ranges`] plans reads and keeps fetched blocks in a sparse scratch file for as long as somebody needs them.
//! * [`work`] stores artifacts: immutable, named by [`key`], verified against their digest on every use.
//! * [`publish`] puts a finished Output under its final name, once; [`follow`] sends a long one while it is made.
//! * [`sweep`] removes what no log entry names.
//!
//! Nothing here decides what a Job does, and nothing here knows what the bytes mean. An object counts when a log entry
//! names it; until then it is a candidate under a key no other Attempt uses.

pub mod error;
pub mod follow;
pub mod key;
pub mod publish;
pub mod ranges;
pub mod source;
pub mod staging;
pub mod sweep;
pub mod url;
pub mod withdraw;
pub mod work;

mod budget;
mod http;
mod local;
mod objects;
mod profile;
mod retry;
mod s3;
mod transport;
mod uploads;

pub use error::{Error, Retry};
pub use follow::{Ending, Follower, Growth, Layout, Settled};
pub use local::{digest_of, digest_of_file, remove_gently};
pub use publish::Publication;
pub use source::Source;
pub use staging::Staging;
pub use url::Location;
pub use withdraw::withdraw;
pub use work::{MOST_READS, Take, WorkStore};
