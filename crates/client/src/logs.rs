//! Logs: to standard error with `-v`, in detail to a file with `--log-file`, nowhere otherwise.

use crate::bars;
use crate::fault::Fault;
use crate::flags::Talk;
use std::io::Write;
use std::sync::Mutex;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

/// Starts logging as asked. Without any flag nothing is set up, which costs nothing.
/// # Errors
/// [`Kind::Output`](crate::fault::Kind::Output): the log file cannot be made.
pub fn start(talk: &Talk) -> Result<(), Fault> {
    if talk.verbose == 0 && talk.log_file.is_none() {
        return Ok(());
    }
    let ours = |level: &str| {
        EnvFilter::new(format!(
            "warn,recode_client={level},recode_coordinator={level},recode_node={level},recode_media={level},\
             recode_store={level},recode_mesh={level}"
        ))
    };
    let screen = (talk.verbose > 0).then(|| {
        let filter = match talk.verbose {
            1 => ours("info"),
            2 => ours("debug"),
            _ => EnvFilter::new("trace"),
        };
        tracing_subscriber::fmt::layer()
            .with_writer(AboveBars)
            .with_target(talk.verbose > 1)
            .with_filter(filter)
    });
    let file = match &talk.log_file {
        None => None,
        Some(path) => {
            let file = std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)
                .map_err(|e| {
                    Fault::output(format!(
                        "the log file {} cannot be written ({e}); name another with --log-file",
                        path.display()
                    ))
                })?;
            Some(
                tracing_subscriber::fmt::layer()
                    .with_writer(Mutex::new(file))
                    .with_ansi(false)
                    .with_filter(ours("debug")),
            )
        }
    };
    let subscriber = tracing_subscriber::registry().with(screen).with(file);
    tracing::subscriber::set_global_default(subscriber)
        .expect("logging is started once, at the beginning of main");
    Ok(())
}

/// Writes log lines above the progress bars.
struct AboveBars;

/// One log line on its way.
struct OneLine(Vec<u8>);

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = OneLine;
    fn make_writer(&'a self) -> OneLine {
        OneLine(Vec::new())
    }
}

impl Write for OneLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for OneLine {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            bars::line(String::from_utf8_lossy(&self.0).trim_end());
        }
    }
}
