//! What a child process may touch, and the helper that sees to it. FFmpeg is treated as hostile code running on hostile
//! input.
//!
//! ```text
//!  node ──► recode-sandbox run PROFILE -- ffmpeg ARGS
//!             user, mount, PID and network namespace, where allowed
//!             resource limits ─► no new privileges ─► Landlock ─► seccomp ─► exec
//! ```
//!
//! Around it, where the machine lets us, lies a control group of its own ([`cgroup`]), with or without the helper.
//!
//! [`Profile`] is the wish, as plain data that is also the helper's command line; [`enter`] carries it out inside the helper;
//! [`trial`] shows which [`Layer`]s this machine has; [`Policy`] decides whether that is enough; [`Sandbox`] is what the
//! starter of children holds. Whatever was asked for and cannot be had is an error: nothing is done by halves in silence.
//! Knows nothing of FFmpeg but what a program of its kind reads from the system.

pub mod cgroup;
pub mod enter;
pub mod layer;
pub mod limits;
pub mod policy;
pub mod profile;
pub mod sandbox;
pub mod trial;

pub use layer::{Layer, Layers};
pub use limits::Limits;
pub use policy::Policy;
pub use profile::Profile;
pub use sandbox::{Error, Sandbox};

/// File name of the helper.
pub const HELPER: &str = "recode-sandbox";
