//! What FFmpeg would do after somebody took it over: one act, named by the first argument. See `recode-bench hostile`.

use std::net::{TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (Some(act), Some(target)) = (args.next(), args.next()) else {
        eprintln!("usage: recode-hostile-acts ACT TARGET");
        return ExitCode::from(2);
    };
    let address = format!("127.0.0.1:{target}");
    let done = match act.as_str() {
        "read" => std::fs::read(target).map(drop),
        "write" => std::fs::write(target, "made"),
        "tcp" => TcpStream::connect(address).map(drop),
        "udp" | "dns" => {
            UdpSocket::bind("0.0.0.0:0").and_then(|s| s.send_to(&[0; 12], address).map(drop))
        }
        // As a child, and in its own place.
        "spawn" => Command::new(&target)
            .status()
            .map(drop)
            .map_err(|_| Command::new(&target).exec()),
        _ => Err(std::io::ErrorKind::InvalidInput.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{act}: {e}");
            ExitCode::FAILURE
        }
    }
}
