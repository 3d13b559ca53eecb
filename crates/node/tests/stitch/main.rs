//! Outputs joined from Chunks on S3. One binary, because the S3 settings come from the environment, which is set once, before
//! anything reads it.

mod film;
#[path = "../ground/mod.rs"]
mod ground;
mod mesh;
mod near;
mod streamed;

use recode_testkit::s3::{self, Server};
use std::sync::MutexGuard;

/// The S3 server of this process with an empty bucket `chunks`.
fn s3() -> MutexGuard<'static, Server> {
    s3::in_turn("chunks")
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
