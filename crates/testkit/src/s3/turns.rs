//! One server for all tests of a program, which take turns: where it is stands in the environment, which is set once.

use super::Server;
use std::sync::{Mutex, MutexGuard, OnceLock};

/// The server of this process with one empty bucket, and nothing counted or injected yet. It is the caller's until the guard is
/// dropped. What reads its S3 settings from the environment meets this server from now on.
///
/// For programs in which nothing reads or writes the environment before the first call.
/// # Panics
/// There is no room for it, or no port.
pub fn in_turn(bucket: &str) -> MutexGuard<'static, Server> {
    static SERVER: OnceLock<Mutex<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder").keep();
        let server = Server::start(&dir).expect("a server");
        for (name, value) in server.env() {
            // SAFETY: callers promise that nothing reads or writes the environment before this call, and all others of this
            // function wait until it is done.
            unsafe { std::env::set_var(name, value) };
        }
        Mutex::new(server)
    });
    let server = server
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let _ = std::fs::remove_dir_all(server.path_of(bucket, ""));
    server.create_bucket(bucket).expect("an empty bucket");
    server.reset();
    server
}
