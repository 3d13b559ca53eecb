#!/usr/bin/env python3
"""A real cluster on this machine: three coordinators and two nodes, each a process of its own.

    local.py up      run it until Ctrl-C
    local.py demo    run it, hand it a job, kill the coordinator that leads meanwhile, show that the job is done

Everything it writes is in RECODE_CLUSTER_DIR (default target/cluster), which is emptied at the start.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
FOLDER = Path(os.environ.get("RECODE_CLUSTER_DIR") or TARGET / "cluster").resolve()
ENDPOINT = "127.0.0.1:7421,127.0.0.1:7422,127.0.0.1:7423"
SAMPLE = ROOT / "samples" / "sintel_trailer_720p24.mp4"
PATIENCE_SECONDS = 30


class CannotRun(Exception):
    """What is wrong and what to do."""


def binary(name):
    return TARGET / "release" / name


def build():
    command = ["cargo", "build", "--quiet", "--release", "--locked"]
    for package in ("recode-client", "recode-coordinator", "recode-node", "recode-sandbox"):
        command += ["--package", package]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise CannotRun("the release binaries do not build")


class Cluster:
    """The processes; ended with the object."""

    def __init__(self):
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir(parents=True)
        self.processes = {}

    def __enter__(self):
        for number in (1, 2, 3):
            self.start_coordinator(number)
        for number in (1, 2):
            workers = str(max(1, (os.cpu_count() or 2) // 2))
            # Where coordinators share a machine with encoders, they come first: a heartbeat must not wait for an encode.
            self.start(
                f"node-{number}",
                ["nice", "-n", "10", binary("recode-node"), "--coordinator", ENDPOINT, "--scratch", f"node-{number}",
                 "--workers", workers, "--grace", "2s"],
            )  # fmt: skip
        return self

    def __exit__(self, *_):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()

    def start(self, name, command):
        log = open(FOLDER / f"{name}.log", "a")
        environment = dict(os.environ)
        ffmpeg = ROOT / ".tools" / "bin" / "ffmpeg"
        if ffmpeg.exists():
            environment.setdefault("RECODE_FFMPEG", str(ffmpeg))
        # A group of its own: Ctrl-C is for this script, which then ends them in order.
        self.processes[name] = subprocess.Popen(
            command, cwd=FOLDER, stdout=log, stderr=log, env=environment, start_new_session=True
        )
        log.close()

    def start_coordinator(self, number):
        config = ROOT / "cluster" / "local" / f"coordinator-{number}.toml"
        self.start(f"coordinator-{number}", [binary("recode-coordinator"), "--config", config])

    def check_alive(self):
        for name, process in self.processes.items():
            if process.poll() not in (None, -signal.SIGKILL):
                tail = (FOLDER / f"{name}.log").read_text().splitlines()[-3:]
                raise CannotRun(f"{name} has ended: " + " / ".join(tail))

    def leader(self):
        """Number of the coordinator that leads; None while there is none."""
        asked = client("cluster", "status", "--json")
        if asked.returncode:
            return None
        return json.loads(asked.stdout)["leader"]

    def wait_for_leader(self, but=None):
        started = time.monotonic()
        while time.monotonic() - started < PATIENCE_SECONDS:
            self.check_alive()
            leader = self.leader()
            if leader not in (None, but):
                return leader
            time.sleep(0.1)
        raise CannotRun(f"no coordinator leads after {PATIENCE_SECONDS} s; see the logs in {FOLDER}")


def client(*arguments):
    command = [binary("recode-client"), *arguments, "--endpoint", ENDPOINT]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def client_or_stop(*arguments):
    done = client(*arguments)
    if done.returncode:
        raise CannotRun(done.stderr.strip() or done.stdout.strip())
    return done.stdout


def up():
    with Cluster() as cluster:
        cluster.wait_for_leader()
        print(client_or_stop("cluster", "status"), end="")
        print(f"\nIt runs until Ctrl-C; logs and data are in {FOLDER}. In another terminal:\n")
        print(f"  export RECODE_ENDPOINT={ENDPOINT}")
        print(f"  recode-client transcode file://{SAMPLE} -o file:///tmp/out.mkv --codec h264")
        print("  recode-client cluster status", flush=True)
        while True:
            time.sleep(1)
            cluster.check_alive()


def demo():
    with Cluster() as cluster:
        leader = cluster.wait_for_leader()
        print(client_or_stop("cluster", "status"))
        output = FOLDER / "sintel.mkv"
        job = client_or_stop(
            "submit", f"file://{SAMPLE}", "-o", f"file://{output}", "--codec", "h264", "--preset", "slow",
            "--segment", "3s",
        ).strip()
        print(f"submitted {job}")
        started = time.monotonic()
        while json.loads(client_or_stop("show", job, "--json"))["status"]["tasks_done"] < 4:
            if time.monotonic() - started > 4 * PATIENCE_SECONDS:
                raise CannotRun(f"the job does not get on; see the logs in {FOLDER}")
            time.sleep(0.1)
        print(f"killing coordinator {leader}, which leads (kill -9)", flush=True)
        cluster.processes[f"coordinator-{leader}"].kill()
        killed = time.monotonic()
        successor = cluster.wait_for_leader(but=leader)
        print(f"coordinator {successor} leads after {time.monotonic() - killed:.1f} s")
        print(client_or_stop("watch", job), end="")
        report = json.loads(client_or_stop("report", job, "--json"))
        cluster.start_coordinator(leader)
        print(f"attempts that had to be repeated: {report['retries']}")
        print(f"\n{output} is done; logs and data are in {FOLDER}")


def main(arguments):
    actions = {"up": up, "demo": demo}
    if len(arguments) != 1 or arguments[0] not in actions:
        print(__doc__)
        return 2
    try:
        build()
        actions[arguments[0]]()
    except CannotRun as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
