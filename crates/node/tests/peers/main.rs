//! Nodes of one site: what they fetch once for all, and that a bad neighbour costs bytes and nothing else.

mod bad;
#[path = "../ground/mod.rs"]
mod ground;
mod site;
mod work;
