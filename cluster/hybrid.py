#!/usr/bin/env python3
"""A hybrid cluster on this machine: three coordinators, NATS and S3 in the centre, two sites with two nodes each.

    hybrid.py demo             run it, hand it a job, show who did what and which events came over NATS
    hybrid.py up               run it until Ctrl-C
    hybrid.py enter COMMAND    run a command where clients are, while it is up

The nodes of site east dial the coordinators; those of site west reach only NATS, and S3 for the bytes. Sites are network
namespaces (sites.py). Everything is written in RECODE_CLUSTER_DIR (default target/cluster-hybrid), emptied at the start.
"""

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import sites
from processes import PATIENCE_SECONDS, ROOT, SAMPLE, TARGET, CannotRun, Processes, binary, build, run

FOLDER = Path(os.environ.get("RECODE_CLUSTER_DIR") or TARGET / "cluster-hybrid").resolve()
PID_FILE = FOLDER.with_suffix(".pid")
PORT = 7420
FOUNDERS = {number: f"{sites.CENTRE}{number}:{PORT}" for number in sites.COORDINATORS}
ENDPOINT = ",".join(FOUNDERS.values())
NATS = f"{sites.CENTRE}{sites.NATS}:4222"
S3 = f"{sites.CENTRE}{sites.S3}:9000"
BUCKET = "media"
# What the usual tools read; any S3 is used in this way.
S3_ENVIRONMENT = {
    "AWS_ENDPOINT_URL": f"http://{S3}",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
}
LINKS = {"east": ["--coordinator", ENDPOINT], "west": ["--link", "nats", "--nats", f"nats://{NATS}"]}


def nats_server():
    for path in (os.environ.get("RECODE_NATS_SERVER"), ROOT / ".tools" / "bin" / "nats-server", shutil.which("nats-server")):
        if path and Path(path).exists():
            return path
    raise CannotRun("there is no nats-server: run `make setup`, or name one in RECODE_NATS_SERVER")


class Cluster(Processes):
    """The processes at their sites; ended with the object."""

    def __init__(self):
        super().__init__(FOLDER, ENDPOINT, S3_ENVIRONMENT)

    def __enter__(self):
        sites.make()
        bucket = FOLDER / "s3" / BUCKET
        bucket.mkdir(parents=True)
        self.start("s3", [binary("recode-testkit-s3"), "--listen", S3, "--dir", FOLDER / "s3"])
        self.start("nats", [nats_server(), "--addr", NATS.split(":")[0], "--port", NATS.split(":")[1]])
        self.wait_until("no S3 answers at the centre", lambda: sites.reaches("west", S3))
        self.wait_until("no NATS answers at the centre", lambda: sites.reaches("west", NATS))
        for number, address in FOUNDERS.items():
            command = [binary("recode-coordinator"), "--config", self.config(number, address)]
            self.start(f"coordinator-{number}", command)
        for site, link in LINKS.items():
            for number in (1, 2):
                name = f"{site}-{number}"
                # Encoders of four nodes share this machine with the coordinators, which come first.
                command = ["nice", "-n", "10", binary("recode-node"), *link, "--scratch", name, "--workers", "1",
                           "--grace", "2s"]  # fmt: skip
                self.start(name, sites.at(site, command))
        return self

    def config(self, number, address):
        founders = "".join(f'{other} = "{where}"\n' for other, where in FOUNDERS.items())
        path = FOLDER / f"coordinator-{number}.toml"
        path.write_text(
            f'id = {number}\nlisten = "{address}"\ndata_dir = "coordinator-{number}"\nwork_store = "s3://{BUCKET}/work"\n'
            f'nats = ["nats://{NATS}"]\ninsecure = true\n\n[founders]\n{founders}'
        )
        return path

    def nodes(self):
        return json.loads(self.client_or_stop("nodes", "--json"))

    def wait_for_nodes(self, wanted=4):
        def there():
            present = [node for node in self.nodes() if (node.get("heard") or {}).get("present")]
            return len(present) >= wanted

        self.wait_until(f"fewer than {wanted} nodes have reported", there)


def show_cluster(cluster):
    cluster.wait_for_leader()
    cluster.wait_for_nodes()
    print(cluster.client_or_stop("cluster", "status"))
    print(cluster.client_or_stop("nodes"))
    for site in sites.SITES:
        for what, address in (("a coordinator", FOUNDERS[1]), ("NATS", NATS), ("S3", S3)):
            answer = "reaches" if sites.reaches(site, address) else "does not reach"
            print(f"site {site} {answer} {what} ({address})")


def up():
    with Cluster() as cluster:
        show_cluster(cluster)
        print(f"\nIt runs until Ctrl-C; logs and data are in {FOLDER}. In another terminal:\n")
        print(f"  alias hybrid='{sys.executable} {Path(__file__).resolve()} enter'")
        print(f"  hybrid {binary('recode-client')} transcode {SAMPLE} -o s3://{BUCKET}/out.mkv --upload --codec h264")
        print(f"  hybrid {binary('recode-client')} events --nats nats://{NATS}", flush=True)
        cluster.stay()


def demo():
    with Cluster() as cluster:
        show_cluster(cluster)
        heard = FOLDER / "events.log"
        with open(heard, "w") as file:
            cluster.start("subscriber", [binary("recode-client"), "events", "--nats", f"nats://{NATS}"], stdout=file)
        job = cluster.client_or_stop(
            "submit", str(SAMPLE), "-o", f"s3://{BUCKET}/sintel.mkv", "--upload", "--codec", "h264", "--preset", "slow",
            "--segment", "2s",
        ).strip().splitlines()[-1]  # fmt: skip
        print(f"\nsubmitted {job}", flush=True)
        print(cluster.client_or_stop("watch", job), end="")
        report = json.loads(cluster.client_or_stop("report", job, "--json"))
        show_work(cluster, report)
        lines = cluster.wait_until(
            "no event of the job's end came over NATS",
            lambda: (lines := heard.read_text().splitlines()) and any(job in line for line in lines) and lines,
            PATIENCE_SECONDS,
        )
        print(f"\n{len(lines)} events came over NATS; the last of them:")
        print("\n".join(f"  {line}" for line in lines[-3:]))
        print(f"\n{FOLDER / 's3' / BUCKET / 'sintel.mkv'} is done; logs and data are in {FOLDER}")


def show_work(cluster, report):
    """Which site made how many Segments: a node's name ends in the number of its process, which we started."""
    site_of_process = {str(process.pid): name.rsplit("-", 1)[0] for name, process in cluster.running.items()}
    site_of_node = {f"node_{node['node']}": site_of_process.get(node["name"].split(":")[-1]) for node in cluster.nodes()}
    made = Counter(site_of_node.get(segment["node"]) for segment in report["outputs"][0]["segments"])
    for site in sites.SITES:
        print(f"the nodes at site {site} encoded {made[site]} of {sum(made.values())} Segments")


def main(arguments):
    if arguments[:1] == ["enter"] and len(arguments) > 1:
        return run({"enter": lambda: sites.enter(PID_FILE, arguments[1:])}, __doc__, ["enter"])
    if os.environ.get(sites.INSIDE):
        return run({"up": up, "demo": demo}, __doc__, arguments)

    codes = []

    def apart(action):
        def go():
            build("recode-client", "recode-coordinator", "recode-node", "recode-sandbox", "recode-testkit")
            nats_server()
            codes.append(sites.apart(__file__, action, PID_FILE))

        return go

    code = run({action: apart(action) for action in ("up", "demo")}, __doc__, arguments)
    return codes[0] if codes else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
