//! Plays back runs of FFmpeg: see `recode_bench::player`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match recode_bench::player::main() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("[fatal] recode-ffmpeg-player: {error:#}");
            ExitCode::FAILURE
        }
    }
}
