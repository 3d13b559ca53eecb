"""Sites joined by little: network namespaces on one machine.

    centre   10.77.0.1 to .9    coordinators, NATS, S3, clients
    east     10.77.1.2          reaches all of the centre
    west     10.77.2.2          reaches NATS and S3 and nothing else: it has no route to a coordinator

East and west do not reach each other, and nothing in the centre can be dialled but by those routes. All of it lives in
namespaces of one process tree, so that the machine's own network stays as it is and everything is gone with the last process.
Root is not needed where the kernel lets users make namespaces.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from processes import CannotRun

INSIDE = "RECODE_HYBRID_INSIDE"
CENTRE = "10.77.0."
# Host part of what is in the centre.
COORDINATORS = (1, 2, 3)
NATS = 4
S3 = 5
SITES = {"east": "10.77.1.", "west": "10.77.2."}


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def apart(script, action, pid_file):
    """Runs `script action` again in namespaces of its own, and leaves with its exit code."""
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux")):
        if not shutil.which(program) and not Path("/usr/sbin", program).exists():
            raise CannotRun(f"sites are made with `{program}`: apt-get install {package}")
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid():
        command += ["--user", "--map-root-user"]
    check = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if check.returncode:
        raise CannotRun(f"this machine makes no namespaces ({check.stderr.strip()}): run it as root")
    environment = dict(os.environ, **{INSIDE: "1"}, PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    outer = subprocess.Popen([*command, sys.executable, script, action], env=environment)
    try:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        while outer.poll() is None and not children.read_text().split():
            time.sleep(0.01)
        if outer.poll() is None:
            pid_file.parent.mkdir(parents=True, exist_ok=True)
            pid_file.write_text(children.read_text().split()[0])
        while True:
            try:
                return outer.wait()
            except KeyboardInterrupt:
                # It has heard it too, and ends its processes in order.
                continue
    finally:
        pid_file.unlink(missing_ok=True)


def enter(pid_file, command):
    """Becomes `command`, in the centre of the sites that run."""
    try:
        pid = pid_file.read_text()
    except FileNotFoundError:
        raise CannotRun("no hybrid cluster runs here: start one with `make cluster-hybrid-up`") from None
    nsenter = ["nsenter", "--target", pid, "--net", "--mount", "--pid"]
    if os.geteuid():
        nsenter += ["--user", "--preserve-credentials"]
    os.execvp("nsenter", [*nsenter, *command])


def make():
    """The namespaces and the routes between them; this process is in the centre."""
    # `ip netns` keeps its names below /run, which must not be the machine's.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    ip("link", "set", "lo", "up")
    for host in (*COORDINATORS, NATS, S3):
        ip("addr", "add", f"{CENTRE}{host}/32", "dev", "lo")
    for site, network in SITES.items():
        ip("netns", "add", site)
        ip("link", "add", site, "type", "veth", "peer", "name", "eth0", "netns", site)
        ip("addr", "add", f"{network}1/30", "dev", site)
        ip("link", "set", site, "up")
        ip("-n", site, "link", "set", "lo", "up")
        ip("-n", site, "addr", "add", f"{network}2/30", "dev", "eth0")
        ip("-n", site, "link", "set", "eth0", "up")
    ip("-n", "east", "route", "add", "default", "via", SITES["east"] + "1")
    for host in (NATS, S3):
        ip("-n", "west", "route", "add", f"{CENTRE}{host}/32", "via", SITES["west"] + "1")


def at(site, command):
    """The command, run at a site."""
    return ["ip", "netns", "exec", site, *command]


def reaches(site, address):
    """Whether a connection from a site to host:port is taken."""
    host, port = address.split(":")
    dial = f"import socket; socket.create_connection(({host!r}, {port}), 3).close()"
    return subprocess.run(at(site, [sys.executable, "-c", dial]), capture_output=True, check=False).returncode == 0
