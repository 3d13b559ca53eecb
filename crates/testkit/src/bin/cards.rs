//! `recode-ffmpeg-cards`: an FFmpeg with cards, by the script beside it. For tests only.

fn main() -> std::process::ExitCode {
    recode_testkit::card::main()
}
