#!/usr/bin/env python3
"""`make fidelity`: every file of a media set through recode, each Output judged against its Source.

    RECODE_JUDGE   the judging program: `JUDGE SOURCE OUTPUT --json --ffmpeg F --ffprobe P`, exit 0, 1 or 2
    RECODE_MEDIA   the folder with the files; the clips of samples/ are added
    ONLY=glob      only files whose name matches          PASS=mp4,h265   only these passes of expected.toml
    JOBS=2         how many at once                       KEEP=1          keep the Outputs
    MINUTES=60     start nothing after that long          AGAIN=1         also what passed before with this build

What passed is remembered in .evidence/fidelity.jsonl by the digests of the client, of its FFmpeg and of the judge, so
an interrupted run goes on where it stopped. Exit 0: all pass; 1: some fail; 2: it could not be run; 3: time was up.
"""

import concurrent.futures
import datetime
import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BOOK = ROOT / ".evidence" / "fidelity.jsonl"
MEDIA_ENDINGS = {".mp4", ".mov", ".mkv", ".webm", ".ts", ".avi", ".flv", ".mpg", ".mxf", ".m4v", ".wmv", ".ogv"}
RUN_SECONDS = 1800


class CannotRun(Exception):
    """The whole run is impossible; the text says what is missing and what to do."""


# --- decisions, without IO --------------------------------------------------------------------------------------------


def plan(expected, names, passes, only="*"):
    """Every (pass, file) with its container, options and expectations, in a stable order."""
    unknown = [name for name in passes if name not in expected["passes"]]
    if unknown:
        raise CannotRun(f"no such pass: {', '.join(unknown)} (there are {', '.join(expected['passes'])})")
    cases = []
    for pass_name in passes:
        how = expected["passes"][pass_name]
        for name in sorted(fnmatch.filter(names, only)):
            rule = expected.get("files", {}).get(name, {})
            refused = rule.get("refused") if pass_name in rule.get("refused_in", [pass_name]) else None
            cases.append(
                {
                    "pass": pass_name,
                    "file": name,
                    "container": rule.get("container", how["container"]),
                    "args": how["args"],
                    "ffmpeg": how["ffmpeg"],
                    "refused": refused,
                    "warns": [] if refused else rule.get("warns", []),
                    "allow": rule.get("allow", {}).get(pass_name, []),
                    "cause": rule.get("cause"),
                }
            )
    return cases


def last_sentence(stderr):
    """What a refused user reads last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def verdict_of_client(case, status, stderr, output_exists, warnings):
    """(verdict, why) when the client's end already decides; None when the judge has to look."""
    said = last_sentence(stderr)
    if case["refused"]:
        if status == 0:
            return "fail", f"should have been refused ({case['cause']})"
        if output_exists:
            return "fail", "refused, but an output was left under its final name"
        if not re.search(case["refused"], stderr, re.IGNORECASE):
            return "fail", f"refused, but not for the expected reason: {said}"
        return "refused", said
    if status != 0:
        return "fail", f"exit {status}: {said}"
    for pattern in case["warns"]:
        if not any(re.search(pattern, warning) for warning in warnings):
            return "fail", f"no warning matches {pattern!r}"
    return None


def verdict_of_judge(status, answer):
    """(verdict, why) from the judge's exit status and JSON."""
    checks = answer.get("checks", [])
    if status == 0:
        waived = [check["name"] for check in checks if check["status"] == "waived"]
        return "pass", f"waived {', '.join(waived)}" if waived else ""
    if status == 1:
        failed = [check for check in checks if check["status"] == "fail"]
        return "fail", "judge: " + "; ".join(f"{one['name']}: {one['got']}, not {one['expected']}" for one in failed)[:600]
    return "fail", f"the judge could not judge: {answer.get('error', f'exit {status}')}"


def table(results):
    """The readable end: one line per pass, then what failed."""
    passes = dict.fromkeys(result["pass"] for result in results)
    yield f"{'pass':<10}{'files':>7}{'pass':>7}{'refused':>9}{'fail':>6}"
    for name in passes:
        of_pass = [result["verdict"] for result in results if result["pass"] == name]
        counts = [of_pass.count(verdict) for verdict in ("pass", "refused", "fail")]
        yield f"{name:<10}{len(of_pass):>7}{counts[0]:>7}{counts[1]:>9}{counts[2]:>6}"
    for result in results:
        if result["verdict"] == "fail":
            yield f"FAIL {result['pass']} {result['file']}: {result['why']}"
        elif result["verdict"] == "refused":
            yield f"refused {result['pass']} {result['file']}: {result['why']}"
        elif result["why"]:
            yield f"note {result['pass']} {result['file']}: {result['why']} ({result['cause']})"


# --- the shell around them --------------------------------------------------------------------------------------------


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def tools():
    """The programs and folders in use, or CannotRun."""
    judge, media = os.environ.get("RECODE_JUDGE"), os.environ.get("RECODE_MEDIA")
    if not judge or not Path(judge).is_file():
        raise CannotRun("RECODE_JUDGE does not name the judging program: set it to the path of check.py")
    if not media or not Path(media).is_dir():
        raise CannotRun("RECODE_MEDIA does not name a folder of media files: set it to the folder to judge with")
    static = Path(os.environ.get("RECODE_FFMPEG") or ROOT / ".tools" / "bin" / "ffmpeg")
    if not os.access(static, os.X_OK):
        raise CannotRun(f"no FFmpeg at {static}: run `make setup`")
    ffprobe = os.environ.get("RECODE_FFPROBE") or shutil.which("ffprobe")
    if not ffprobe:
        raise CannotRun("no ffprobe on PATH, and the judge needs one: install ffmpeg or set RECODE_FFPROBE")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    client = Path(os.environ.get("RECODE_CLIENT") or target / "release" / "recode-client")
    if "RECODE_CLIENT" not in os.environ:
        build = ["cargo", "build", "--quiet", "--release", "--locked", "--package", "recode-client"]
        if subprocess.run(build, cwd=ROOT).returncode:
            raise CannotRun("recode-client does not build")
    if not os.access(client, os.X_OK):
        raise CannotRun(f"no recode-client at {client}: set RECODE_CLIENT")
    return {
        "judge": judge,
        "static": str(static.resolve()),
        "distribution": shutil.which("ffmpeg"),
        "ffprobe": ffprobe,
        "client": str(client.resolve()),
    }


def sources():
    """File name -> path, of the media folder and of samples/; the media folder wins."""
    found = {}
    for folder in (ROOT / "samples", Path(os.environ["RECODE_MEDIA"])):
        for path in folder.iterdir():
            if path.suffix in MEDIA_ENDINGS and path.is_file():
                found[path.name] = path
    return found


def run_case(case, source, tool, work):
    """One file through one pass: a result to write down."""
    folder = Path(tempfile.mkdtemp(prefix=f"{case['pass']}-{source.stem}-", dir=work))
    output, report = folder / f"{source.stem}.{case['container']}", folder / "report.json"
    started = time.monotonic()
    command = [tool["client"], "transcode", str(source), "-o", str(output), *case["args"]]
    command += ["--state", str(folder / "state"), "--report", str(report), "--quiet"]
    env = dict(os.environ, RECODE_FFMPEG=tool[case["ffmpeg"]], RECODE_FFPROBE=tool["ffprobe"])
    answer = {}
    try:
        run = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace", timeout=RUN_SECONDS)
        warnings, chunks = [], None
        if report.exists():
            told = json.loads(report.read_text())
            warnings = told["warnings"]
            chunks = sum(len(one["segments"]) for one in told["outputs"])
        decided = verdict_of_client(case, run.returncode, run.stderr, output.exists(), warnings)
        encoded = time.monotonic()
        if decided is None:
            judge = [sys.executable, tool["judge"], str(source), str(output), "--json"]
            judge += ["--ffmpeg", tool["static"], "--ffprobe", tool["ffprobe"]]
            for allow in case["allow"]:
                judge += ["--allow", allow]
            env = dict(os.environ, TMPDIR=str(folder))
            judged = subprocess.run(judge, env=env, capture_output=True, text=True, timeout=RUN_SECONDS)
            try:
                answer = json.loads(judged.stdout)
            except ValueError:
                answer = {"error": last_sentence(judged.stderr)}
            decided = verdict_of_judge(judged.returncode, answer)
    except subprocess.TimeoutExpired as error:
        decided, chunks, encoded, warnings = ("fail", f"no end after {error.timeout} s"), None, time.monotonic(), []
    verdict, why = decided
    if verdict != "fail" and not os.environ.get("KEEP"):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        shutil.rmtree(folder / "state", ignore_errors=True)
    return {
        "verdict": verdict,
        "why": why,
        "chunks": chunks,
        "warnings": warnings,
        "seconds": round(encoded - started, 2),
        "judge_seconds": round(time.monotonic() - encoded, 2),
        "kept": str(folder) if folder.exists() else None,
    }


def remembered(key_of):
    """Results of earlier runs that still hold: (pass, file) -> result."""
    held = {}
    if BOOK.exists() and not os.environ.get("AGAIN"):
        for line in BOOK.read_text().splitlines():
            result = json.loads(line)
            held[result["pass"], result["file"]] = result
    return {
        where: result
        for where, result in held.items()
        if result["verdict"] != "fail" and result["key"] == key_of.get(where)
    }


def main():
    expected = tomllib.loads((Path(__file__).parent / "expected.toml").read_text())
    try:
        tool = tools()
        found = sources()
        passes = [name for name in os.environ.get("PASS", ",".join(expected["passes"])).split(",") if name]
        cases = plan(expected, list(found), passes, os.environ.get("ONLY", "*"))
        if any(case["ffmpeg"] == "distribution" for case in cases) and not tool["distribution"]:
            raise CannotRun("no ffmpeg on PATH for the pass with the distribution's FFmpeg: install it")
        if not cases:
            raise CannotRun("no file matches ONLY")
    except (CannotRun, tomllib.TOMLDecodeError) as error:
        print(f"fidelity: {error}", file=sys.stderr)
        return 2

    digests = {name: digest(tool[name]) for name in ("client", "static", "distribution", "judge") if tool[name]}
    key_of = {}
    for case in cases:
        parts = [digests["client"], digests[case["ffmpeg"]], digests["judge"], json.dumps(case, sort_keys=True)]
        key_of[case["pass"], case["file"]] = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    results = remembered(key_of)
    todo = [case for case in cases if (case["pass"], case["file"]) not in results]
    # Long files first, so that the last worker does not end alone.
    todo.sort(key=lambda case: -found[case["file"]].stat().st_size)
    deadline = time.monotonic() + 60 * float(os.environ.get("MINUTES", "100000"))
    print(f"fidelity: {len(cases)} cases, {len(cases) - len(todo)} known from before", flush=True)

    work = ROOT / ".evidence" / "fidelity"
    shutil.rmtree(work, ignore_errors=True)  # what failed or was kept before
    work.mkdir(parents=True)
    lock, late = threading.Lock(), []

    def one(case):
        where = case["pass"], case["file"]
        if time.monotonic() > deadline:
            late.append(where)
            return
        result = run_case(case, found[case["file"]], tool, work)
        result.update({name: case[name] for name in ("pass", "file", "container", "cause")}, key=key_of[where])
        result["at"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        with lock:
            results[where] = result
            with open(BOOK, "a") as book:
                book.write(json.dumps(result) + "\n")
            print(f"{result['verdict']:<8}{case['pass']:<9}{case['file']}  {result['why']}"[:300], flush=True)

    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        for future in [pool.submit(one, case) for case in todo]:
            future.result()

    wanted = [results[case["pass"], case["file"]] for case in cases if (case["pass"], case["file"]) in results]
    print()
    for line in table(wanted):
        print(line)
    summary = {
        "bench": "fidelity",
        "metric": "failed",
        "value": sum(result["verdict"] == "fail" for result in wanted),
        "unit": "files",
        "n": len(wanted),
        "missing": len(late),
        "passes": {
            name: {
                verdict: sum(result["pass"] == name and result["verdict"] == verdict for result in wanted)
                for verdict in ("pass", "refused", "fail")
            }
            for name in passes
        },
        "paired_with": "one plain decode of the Source (the judge)",
    }
    print(json.dumps(summary))
    if summary["value"]:
        return 1
    return 3 if late else 0


if __name__ == "__main__":
    sys.exit(main())
