#!/bin/sh
# `make demo`: one real clip through the real data path, in a folder of its own, scored.
set -eu
cd "$(dirname "$0")/.."
out=${RECODE_DEMO_DIR:-target/demo}
target=${CARGO_TARGET_DIR:-target}
mkdir -p "$out"
cargo build --quiet --release --locked --package recode-client --package recode-sandbox
client=$target/release/recode-client
sample=samples/sintel_trailer_720p24.mp4

score="--score vmaf"
ffmpeg=${RECODE_FFMPEG:-.tools/bin/ffmpeg}
[ -x "$ffmpeg" ] || ffmpeg=ffmpeg
if ! "$ffmpeg" -hide_banner -filters 2>/dev/null | grep -q ' libvmaf '; then
    echo "demo: the FFmpeg in use has no libvmaf, so nothing is scored (make setup fetches one that has)"
    score=""
fi
echo "\$ recode-client transcode $sample -o $out/sintel.mkv --codec h264 --crf 23 --segment 5s $score"
# shellcheck disable=SC2086
"$client" transcode "$sample" -o "$out/sintel.mkv" --codec h264 --crf 23 --segment 5s $score \
    --force --state "$out/state" --report "$out/report.json"
python3 scripts/demo_summary.py "$out/report.json"
