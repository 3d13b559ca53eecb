#!/bin/sh
# What `make test` runs: format, lints, the whole workspace's tests, licences and advisories, the Python parts.
# Every step runs even when an earlier one failed; the last line says which did.
set -u
cd "$(dirname "$0")/.." || exit 1
# The set-up's build, wherever the test programs lie: the one on PATH may be older and lack libvmaf.
if [ -z "${RECODE_FFMPEG:-}" ] && [ -x .tools/bin/ffmpeg ]; then
    RECODE_FFMPEG=$PWD/.tools/bin/ffmpeg
    export RECODE_FFMPEG
fi
failed=""
step() {
    name=$1; shift
    echo "== $name"
    "$@" || failed="$failed $name"
}
has() { command -v "$1" >/dev/null 2>&1; }

step format cargo fmt --all -- --check
if cargo clippy --version >/dev/null 2>&1; then
    step lints cargo clippy --quiet --workspace --all-targets --locked
else
    echo "== lints: skipped, cargo clippy is not installed"
fi
if has cargo-nextest; then
    step tests cargo nextest run --workspace --locked --no-fail-fast
else
    echo "(cargo-nextest is not installed; cargo test runs the same tests)"
    step tests cargo test --workspace --locked --no-fail-fast
fi
if has cargo-deny; then
    step licences cargo deny --all-features --locked check
else
    echo "(cargo-deny is not installed: licences are checked, advisories are not)"
    step licences python3 scripts/licences.py
fi
step python python3 -m unittest discover --start-directory scripts/tests --top-level-directory scripts

if [ -n "$failed" ]; then
    echo "make test: FAILED:$failed"
    exit 1
fi
echo "make test: all steps passed"
