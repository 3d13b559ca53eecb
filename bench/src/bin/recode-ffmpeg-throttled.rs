//! FFmpeg with less processor time: see `recode_bench::throttle`.

fn main() -> std::process::ExitCode {
    let Err(error) = recode_bench::throttle::main();
    eprintln!("[fatal] recode-ffmpeg-throttled: {error:#}");
    std::process::ExitCode::FAILURE
}
