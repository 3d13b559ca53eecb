//! The node's long-lived tasks: the reporter, and the Attempts it owns.

pub mod reporter;
pub mod workers;
