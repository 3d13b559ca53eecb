//! The store against real directories, a real S3 server and a web server. One binary, because the S3 settings come from
//! the environment, which is set once, before anything reads it.

mod cache;
mod conformance;
mod faults;
mod follow;
mod publish;
mod source;

use recode_testkit::s3::Server;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The S3 server of this process with an empty bucket `films`. Tests that share a process take turns, so that counters and
/// injected faults belong to one of them.
fn s3() -> MutexGuard<'static, Server> {
    static SERVER: OnceLock<Mutex<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap().keep();
        let server = Server::start(&dir).unwrap();
        for (name, value) in server.env() {
            // SAFETY: every test that touches S3 comes here first and waits until this is done; nothing else in this
            // process reads or writes the environment before.
            unsafe { std::env::set_var(name, value) };
        }
        Mutex::new(server)
    });
    let server = server
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let bucket = server.path_of("films", "");
    let _ = std::fs::remove_dir_all(bucket);
    server.create_bucket("films").unwrap();
    server.reset();
    server
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
