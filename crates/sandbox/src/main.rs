//! `recode-sandbox`: becomes another program, confined. Started by nodes and clients; nobody needs to call it by hand.

use recode_sandbox::enter::{self, Status};
use recode_sandbox::profile::{Order, RUN};
use recode_sandbox::sandbox::Start;
use recode_sandbox::trial::{self, PROVE};
use std::path::Path;
use std::process::ExitCode;

/// Exit code of a program that was not started, as shells have it for commands that cannot be run.
const NOT_STARTED: u8 = 126;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let verb = args.next().unwrap_or_default();
    if verb == RUN {
        return run(args);
    }
    if verb == PROVE
        && let (Some(dir), None) = (args.next(), args.next())
    {
        return match trial::prove(Path::new(&dir)) {
            Ok(said) => {
                print!("{said}");
                ExitCode::SUCCESS
            }
            Err(e) => fail(&format!("{} cannot be used: {e}", dir.display())),
        };
    }
    if verb == "--version" || verb == "-V" {
        println!("recode-sandbox {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    fail(
        "this program is started by recode: `recode-sandbox prove DIR` shows what this machine can do, \
         `recode-sandbox run [PROFILE] -- PROGRAM [ARGS]` runs a program",
    )
}

fn run(args: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let order = match Order::parse(args) {
        Ok(order) => order,
        Err(e) => return fail(&e.to_string()),
    };
    let status = match Status::open(order.profile.status) {
        Ok(status) => status,
        Err(e) => return fail(&format!("--status is no open descriptor: {e}")),
    };
    let Err(e) = enter::run(&order, &status);
    status.tell(&Start::from(&e));
    ExitCode::from(NOT_STARTED)
}

fn fail(message: &str) -> ExitCode {
    eprintln!("recode-sandbox: {message}");
    ExitCode::from(NOT_STARTED)
}
