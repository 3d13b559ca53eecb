"""What the clusters of this folder have in common: release binaries, and processes that end with whoever started them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
SAMPLE = ROOT / "samples" / "sintel_trailer_720p24.mp4"
PATIENCE_SECONDS = 30


class CannotRun(Exception):
    """What is wrong and what to do."""


def binary(name):
    return TARGET / "release" / name


def build(*packages):
    print("building the release binaries (many minutes the first time)", flush=True)
    command = ["cargo", "build", "--quiet", "--release", "--locked"]
    for package in packages:
        command += ["--package", package]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        raise CannotRun("the release binaries do not build")


class Processes:
    """Processes that write logs into a folder; ended with the object."""

    def __init__(self, folder, endpoint, environment=None):
        self.folder = folder
        self.endpoint = endpoint
        self.environment = dict(os.environ, **(environment or {}))
        ffmpeg = ROOT / ".tools" / "bin" / "ffmpeg"
        if ffmpeg.exists():
            self.environment.setdefault("RECODE_FFMPEG", str(ffmpeg))
        self.running = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Those that were started last depend on the others.
        for process in reversed(self.running.values()):
            process.terminate()
        for process in self.running.values():
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()

    def start(self, name, command, **more):
        with open(self.folder / f"{name}.log", "a") as log:
            # A group of its own: Ctrl-C is for the script, which then ends them in order.
            self.running[name] = subprocess.Popen(
                command, cwd=self.folder, stdout=more.pop("stdout", log), stderr=log, env=self.environment,
                start_new_session=True, **more,
            )  # fmt: skip
        return self.running[name]

    def check_alive(self):
        for name, process in self.running.items():
            if process.poll() not in (None, -signal.SIGKILL):
                tail = (self.folder / f"{name}.log").read_text().splitlines()[-3:]
                raise CannotRun(f"{name} has ended: " + " / ".join(tail))

    def client(self, *arguments):
        command = [binary("recode-client"), *arguments, "--endpoint", self.endpoint]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=self.environment)

    def client_or_stop(self, *arguments):
        done = self.client(*arguments)
        if done.returncode:
            raise CannotRun(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def leader(self):
        """Number of the coordinator that leads; None while there is none."""
        asked = self.client("cluster", "status", "--json")
        if asked.returncode:
            return None
        return json.loads(asked.stdout)["leader"]

    def wait_until(self, what, condition, seconds=PATIENCE_SECONDS):
        """What `condition` returns as soon as that is neither None nor False."""
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            self.check_alive()
            found = condition()
            if found is not None and found is not False:
                return found
            time.sleep(0.1)
        raise CannotRun(f"{what} after {seconds} s; see the logs in {self.folder}")

    def wait_for_leader(self, but=None):
        def other():
            leader = self.leader()
            return None if leader in (None, but) else leader

        return self.wait_until("no coordinator leads", other)

    def stay(self):
        """Until Ctrl-C or until a process ends that should not."""
        while True:
            time.sleep(1)
            self.check_alive()


def run(actions, usage, arguments):
    """Calls the action that the arguments name; the exit code."""
    if len(arguments) != 1 or arguments[0] not in actions:
        print(usage)
        return 2
    try:
        actions[arguments[0]]()
    except CannotRun as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0
