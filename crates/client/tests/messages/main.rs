//! What people are told when something is wrong: each message word for word, its exit code, and that nothing is left
//! under the output's name. A change of wording is a change here.

mod bench;
#[path = "../common/mod.rs"]
mod common;
mod flags;
mod life;
mod media;
mod places;
mod remote;
mod tools;
