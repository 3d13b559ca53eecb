//! Outputs, state folders and remote places that cannot be used.

use crate::bench::Bench;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

#[test]
fn outputs_that_cannot_be_written_are_told_apart() {
    let bench = Bench::new();
    bench.write("in.mp4", b"not looked at");
    bench.write("there.mp4", b"somebody's");
    std::fs::create_dir(bench.file("folder.mp4")).expect("the folder is ours");
    std::fs::hard_link(bench.file("in.mp4"), bench.file("link.mp4")).expect("the folder is ours");
    bench.refused(
        "in.mp4 -o there.mp4",
        4,
        "DIR/there.mp4 exists; add --force to replace it, or name another output",
    );
    bench.refused(
        "in.mp4 -o no/such/out.mp4",
        4,
        "the directory DIR/no/such does not exist; make it with mkdir -p DIR/no/such",
    );
    bench.refused(
        "in.mp4 -o folder.mp4",
        4,
        "DIR/folder.mp4 is a directory; name a file in it",
    );
    bench.refused(
        "in.mp4 -o link.mp4",
        2,
        "DIR/link.mp4 is the input under another name; name another output, the source is never written to",
    );
    bench.refused(
        "in.mp4 -o http://host/out.mp4",
        4,
        "http://host/out.mp4 cannot be written, since http is read-only here; name a path or an s3:// URL",
    );
    bench.refused(
        "in.mp4 -o out.mp4 --report none/report.json",
        4,
        "the report none/report.json cannot be written there; name a file in a directory that exists",
    );
    bench.refused(
        "in.mp4 -o out.mp4 --log-file none/log",
        4,
        "the log file none/log cannot be written (No such file or directory (os error 2)); name another with --log-file",
    );
    assert_eq!(
        std::fs::read(bench.file("there.mp4")).unwrap(),
        b"somebody's"
    );
}

#[test]
fn places_without_permission_are_named() {
    let bench = Bench::new();
    bench.write("in.mp4", b"not looked at");
    std::fs::create_dir(bench.file("closed")).expect("the folder is ours");
    bench.chmod("closed", 0o555);
    bench.refused_as_nobody(
        "in.mp4 -o closed/out.mp4",
        4,
        "no file may be made in DIR/closed by this user; change its permissions or name another place",
    );
    bench.refused_as_nobody(
        "in.mp4 -o out.mp4 --state closed/state",
        5,
        "the state folder closed/state cannot be used (Permission denied (os error 13)); name another with --state DIR",
    );
}

/// Answers every request with `status` until the test ends.
fn server(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback is there");
    let address = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut buffer = [0; 4096];
            // One request per connection is all that is answered.
            let _ = stream.read(&mut buffer);
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    address
}

#[test]
fn objects_that_are_forbidden_missing_or_out_of_reach_are_told_apart() {
    let bench = Bench::new();
    let with_s3 = |endpoint: &str, message: &str, code| {
        let line = "s3://bucket/film.mp4 -o out.mp4";
        let mut command = bench.command(&format!("transcode {line}"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command
            .env("HOME", bench.path())
            .env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1");
        if !endpoint.is_empty() {
            command
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "test");
        } else {
            command.env_remove("AWS_ENDPOINT_URL");
        }
        bench.refused_by(command, line, code, message);
    };
    with_s3(
        &server("403 Forbidden"),
        "access to s3://bucket/film.mp4 was denied; check the AWS keys or profile in use and the rights of the bucket",
        3,
    );
    with_s3(
        &server("404 Not Found"),
        "s3://bucket/film.mp4 does not exist; check bucket and key",
        3,
    );
    with_s3(
        "",
        "access to s3://bucket/film.mp4 was denied: no credentials were found; set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws, or AWS_SKIP_SIGNATURE=true for a public bucket",
        3,
    );
    with_s3(
        "http://127.0.0.1:9",
        "s3://bucket/film.mp4 cannot be reached: Connection refused; check the address and the network, then try again",
        5,
    );
    let missing = server("404 Not Found");
    bench.refused(
        &format!("{missing}/film.mp4 -o out.mp4"),
        3,
        &format!("{missing}/film.mp4 does not exist; check the address"),
    );
}
