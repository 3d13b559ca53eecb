//! The node: runs Attempts
