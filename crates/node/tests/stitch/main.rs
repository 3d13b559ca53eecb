//! Outputs joined from Chunks on S3. One binary, because the S3 settings come from the environment, which is set once, before
//! anything reads it.

mod film;
#[path = "../ground/mod.rs"]
mod ground;
mod mesh;
mod near;
mod streamed;

use recode_testkit::s3::Server;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The S3 server of this process with empty buckets `work` and `out`. Tests that share a process take turns.
fn s3() -> MutexGuard<'static, Server> {
    static SERVER: OnceLock<Mutex<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap().keep();
        let server = Server::start(&dir).unwrap();
        for (name, value) in server.env() {
            // SAFETY: every test of this program comes here first and waits until this is done; nothing else in this process
            // reads or writes the environment before.
            unsafe { std::env::set_var(name, value) };
        }
        Mutex::new(server)
    });
    let server = server
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let _ = std::fs::remove_dir_all(server.path_of("work", ""));
    server.create_bucket("work").unwrap();
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
