#!/usr/bin/env python3
"""A real cluster on this machine: three coordinators and two nodes, each a process of its own.

    local.py up      run it until Ctrl-C
    local.py demo    run it, hand it a job, kill the coordinator that leads meanwhile, show that the job is done

Everything it writes is in RECODE_CLUSTER_DIR (default target/cluster), which is emptied at the start.
"""

import json
import os
import sys
import time
from pathlib import Path

from processes import PATIENCE_SECONDS, ROOT, SAMPLE, TARGET, CannotRun, Processes, binary, build, run

FOLDER = Path(os.environ.get("RECODE_CLUSTER_DIR") or TARGET / "cluster").resolve()
ENDPOINT = "127.0.0.1:7421,127.0.0.1:7422,127.0.0.1:7423"


class Cluster(Processes):
    """The processes; ended with the object."""

    def __init__(self):
        build("recode-client", "recode-coordinator", "recode-node", "recode-sandbox")
        super().__init__(FOLDER, ENDPOINT)

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

    def start_coordinator(self, number):
        config = ROOT / "cluster" / "local" / f"coordinator-{number}.toml"
        self.start(f"coordinator-{number}", [binary("recode-coordinator"), "--config", config])


def up():
    with Cluster() as cluster:
        cluster.wait_for_leader()
        print(cluster.client_or_stop("cluster", "status"), end="")
        print(f"\nIt runs until Ctrl-C; logs and data are in {FOLDER}. In another terminal:\n")
        print(f"  export RECODE_ENDPOINT={ENDPOINT}")
        print(f"  recode-client transcode file://{SAMPLE} -o file:///tmp/out.mkv --codec h264")
        print("  recode-client cluster status", flush=True)
        cluster.stay()


def demo():
    with Cluster() as cluster:
        leader = cluster.wait_for_leader()
        print(cluster.client_or_stop("cluster", "status"))
        output = FOLDER / "sintel.mkv"
        job = cluster.client_or_stop(
            "submit", f"file://{SAMPLE}", "-o", f"file://{output}", "--codec", "h264", "--preset", "slow",
            "--segment", "3s",
        ).strip()
        print(f"submitted {job}")
        cluster.wait_until(
            "the job does not get on",
            lambda: json.loads(cluster.client_or_stop("show", job, "--json"))["status"]["tasks_done"] >= 4,
            4 * PATIENCE_SECONDS,
        )
        print(f"killing coordinator {leader}, which leads (kill -9)", flush=True)
        cluster.running[f"coordinator-{leader}"].kill()
        killed = time.monotonic()
        successor = cluster.wait_for_leader(but=leader)
        print(f"coordinator {successor} leads after {time.monotonic() - killed:.1f} s")
        print(cluster.client_or_stop("watch", job), end="")
        report = json.loads(cluster.client_or_stop("report", job, "--json"))
        cluster.start_coordinator(leader)
        print(f"attempts that had to be repeated: {report['retries']}")
        print(f"\n{output} is done; logs and data are in {FOLDER}")


if __name__ == "__main__":
    sys.exit(run({"up": up, "demo": demo}, __doc__, sys.argv[1:]))
