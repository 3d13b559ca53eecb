//! `recode-client`: transcodes on this machine, or hands the work to a coordinator.
//!
//! Results go to standard output, everything said to people on the way to standard error. A command that fails says
//! why in one sentence beginning with `recode-client:` and ends with the exit code of [`fault::Kind::code`].

mod bars;
mod cache;
mod clock;
mod cluster;
mod command;
mod command_file;
mod embedded;
mod events;
mod explain;
mod fault;
mod flags;
mod follow;
mod inputs;
mod job_file;
mod jobs;
mod logs;
mod nodes;
mod place;
mod preflight;
mod probe;
mod progress;
mod remote;
mod request;
mod score;
mod state;
mod submit;
mod summary;
mod tails;
mod template;
mod transcode;
mod units;
mod upload;
mod waits;
mod wanted;

use clap::{CommandFactory as _, Parser as _};
use fault::{Fault, Kind};
use flags::{Cli, Command};
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let json = cli.command.json();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            tell(&fault, json);
            ExitCode::from(fault.kind.code())
        }
    }
}

fn run(command: Command) -> Result<(), Fault> {
    let cwd = std::env::current_dir().map_err(|e| {
        Fault::environment(format!(
            "the current folder cannot be found ({e}); change to one that exists"
        ))
    })?;
    match command {
        Command::Transcode(args) => {
            logs::start(&args.talk)?;
            transcode::run(*args, &cwd)
        }
        Command::Probe(args) => {
            logs::start(&args.talk)?;
            probe::run(args, &cwd)
        }
        Command::Score(args) => {
            logs::start(&args.talk)?;
            score::run(args, &cwd)
        }
        Command::Cache(args) => cache::run(args.action, &cwd),
        Command::Run(args) => {
            logs::start(&args.talk)?;
            command::run(&args, &cwd)
        }
        Command::Submit(args) => submit::run(&args, &cwd),
        Command::List(args) => jobs::list(&args),
        Command::Show(args) => jobs::show(&args),
        Command::Watch(args) => jobs::watch(&args, &cwd),
        Command::Cancel(args) => jobs::cancel(&args),
        Command::Pause(args) => jobs::pause(&args),
        Command::Resume(args) => jobs::resume(&args),
        Command::Retry(args) => jobs::retry(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Report(args) => jobs::report(&args, &cwd),
        Command::Logs(args) => tails::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Nodes(args) => nodes::run(&args),
        Command::Drain(args) => nodes::drain(&args),
        Command::Undrain(args) => nodes::undrain(&args),
        Command::Cluster(args) => cluster::run(&args.action),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "recode-client", &mut script);
            say(&String::from_utf8_lossy(&script));
            Ok(())
        }
    }
}

/// Writes a result to standard output.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone (`| head`) has read all it wanted.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn tell(fault: &Fault, json: bool) {
    if json {
        say(&format!("{}\n", fault.json()));
    }
    if let Some(tail) = &fault.stderr_tail {
        bars::line(tail.trim_end());
    }
    bars::line(&format!("recode-client: {fault}"));
}

/// Help and version are answers; anything else becomes one sentence.
fn refused(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            say(&error.render().to_string());
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            bars::line(error.render().to_string().trim_end());
            return ExitCode::from(Kind::Usage.code());
        }
        _ => {}
    }
    let json = std::env::args().any(|arg| arg == "--json");
    tell(
        &Fault::usage(one_sentence(&error.render().to_string(), &asked())),
        json,
    );
    ExitCode::from(Kind::Usage.code())
}

/// The subcommand that was typed, for its help.
fn asked() -> String {
    let typed = std::env::args().nth(1).unwrap_or_default();
    let known = Cli::command();
    let known = known.get_subcommands().any(|c| c.get_name() == typed);
    if known { typed } else { "transcode".to_owned() }
}

/// The sentence in clap's message, without the usage and hints that follow it.
fn one_sentence(rendered: &str, command: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for line in rendered.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        if let Some(tip) = line.strip_prefix("tip: ") {
            parts.push(format!("({tip})"));
        } else if !line.is_empty() {
            parts.push(line.trim_start_matches("error: ").to_owned());
        }
    }
    let sentence = parts.join(" ");
    if sentence.ends_with("were not provided: --endpoint <URL>") {
        return "no cluster is named; add --endpoint HOST:PORT or set RECODE_ENDPOINT".to_owned();
    }
    if sentence.contains('(') || sentence.contains('[') || sentence.contains("such as") {
        sentence
    } else {
        format!("{sentence}; see recode-client {command} --help")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clap_says_becomes_one_sentence() {
        let of = |words: &[&str]| {
            one_sentence(
                &Cli::try_parse_from(words).unwrap_err().render().to_string(),
                words[1],
            )
        };
        assert_eq!(
            of(&[
                "recode-client",
                "transcode",
                "i.mp4",
                "-o",
                "o.mp4",
                "--codec",
                "h266"
            ]),
            "invalid value 'h266' for '--codec <CODEC>' [possible values: h264, h265, av1, vp9, prores, mpeg2, copy] (a similar value exists: 'h265')"
        );
        assert_eq!(
            of(&[
                "recode-client",
                "transcode",
                "i.mp4",
                "-o",
                "o.mp4",
                "--crf",
                "good"
            ]),
            "invalid value 'good' for '--crf <N>': \"good\" is not a number such as 18 or 23.5"
        );
        assert_eq!(
            of(&["recode-client", "transcode", "-o", "o.mp4"]),
            "the following required arguments were not provided: <INPUT>; see recode-client transcode --help"
        );
    }
}
