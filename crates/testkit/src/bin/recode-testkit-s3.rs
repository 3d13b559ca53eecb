//! An S3 server over a directory that misbehaves as its rules say: for trying a cluster against a bad store.

use clap::Parser;
use recode_testkit::s3::{KEY, Rule, Server};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// An S3 server over a directory that misbehaves as its rules say. It takes the access key and the secret "test".
///
/// It prints what clients need in their environment, and with --report every so often what was asked and what went wrong.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The directory; its sub-directories are the buckets
    #[arg(long, value_name = "DIRECTORY")]
    dir: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// A bucket to make; may be given several times
    #[arg(long, value_name = "NAME")]
    bucket: Vec<String>,
    /// What goes wrong, WHICH[@KEY]:FAULT:PERCENT[xBURST], as in any:refuse=503:5%x3; may be given several times
    #[arg(long, value_name = "RULE")]
    fault: Vec<Rule>,
    /// Seed of the rules' chance
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Seconds between reports; 0 leaves them out
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    report: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    std::fs::create_dir_all(&arguments.dir)?;
    let server = Server::start_at(&arguments.dir, arguments.listen)?;
    for bucket in &arguments.bucket {
        server.create_bucket(bucket)?;
    }
    server.seed(arguments.seed);
    for rule in arguments.fault {
        server.add_rule(rule);
    }
    for (name, value) in server.env() {
        println!("export {name}={value}");
    }
    eprintln!("serving {} as {KEY}", arguments.dir.display());
    loop {
        if arguments.report == 0 {
            std::thread::park();
            continue;
        }
        std::thread::sleep(Duration::from_secs(arguments.report));
        for (kind, count) in server.counts() {
            println!(
                "{kind}: {} requests, {} bytes in, {} bytes out",
                count.requests, count.bytes_received, count.bytes_sent
            );
        }
        for ((kind, fault), times) in server.struck() {
            println!("{kind} {fault}: {times}");
        }
    }
}
