//! What people are told when something is wrong: each message word for word, its exit code, and that nothing is left
//! under the output's name. A change of wording is a change here.

mod bench;
mod flags;
mod life;
mod media;
mod places;
mod tools;
