//! The store against real directories, a real S3 server and a web server. One binary, because the S3 settings come from
//! the environment, which is set once, before anything reads it.

mod cache;
mod conformance;
mod faults;
mod follow;
mod publish;
mod source;

use recode_testkit::s3::{self, Server};
use std::path::Path;
use std::sync::MutexGuard;

/// The S3 server of this process with an empty bucket `films`.
fn s3() -> MutexGuard<'static, Server> {
    s3::in_turn("films")
}

/// Runs a test's body to its end.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// Bytes that differ everywhere, so that a shifted or swapped part shows.
fn film(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// Names of everything in a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
