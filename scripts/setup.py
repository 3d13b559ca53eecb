#!/usr/bin/env python3
"""Brings the machine to the point where `make demo` and `make test` work: quick when nothing is missing.

What is looked after, and how each ends when it cannot be had:

* a C linker (Rust and `ring` need one)         apt, else a sentence and exit 1
* the distribution's ffmpeg and ffprobe         apt, else a sentence; recode itself does without
* a current static FFmpeg at .tools/bin/ffmpeg  a pinned wheel of the package index, else a sentence;
                                                recode then uses the FFmpeg on PATH, which cannot score
* a NATS server for the tests                   Debian's package, unpacked to .tools/bin/nats-server and
                                                not installed, so that no service starts; else apt,
                                                else a sentence, and the tests that need it fail

It needs Python 3.9 and nothing else. `RECODE_FFMPEG` skips the static build, `RECODE_NATS_SERVER` the NATS server.
"""

import hashlib
import html.parser
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
PACKAGE = "imageio-ffmpeg"
VERSION = "0.8.1"
# SHA-256 of the wheels of that version. Other platforms are checked against the index's own digest only.
WHEELS = {
    "x86_64": "050d6850601c3b3890bd2b28306f3b842b3daea390a561101174375a1c460bda",
    "aarch64": "fad3176f859b25869e60a8ed79957d4e3ed74a97a95e5f0cdcb91455f6c6d00e",
}


class Missing(Exception):
    """Something could not be had; the text says what and what to do."""


def say(text):
    print(f"setup: {text}", flush=True)


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def version_line(program, flag="-version"):
    """First line of `program -version`; None when it does not run."""
    try:
        run = subprocess.run([str(program), flag], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.splitlines()[0] if run.stdout else None


def apt_install(*packages):
    """Installs Debian packages as root or through sudo without a password; Missing when neither works."""
    wanted = " ".join(packages)
    if not shutil.which("apt-get"):
        raise Missing(f"this is no Debian: install {wanted} with the system's own package manager")
    prefix = []
    if os.geteuid() != 0:
        sudo = shutil.which("sudo")
        if not sudo or subprocess.run([sudo, "-n", "true"], capture_output=True).returncode:
            raise Missing(f"run `apt-get install {wanted}` as root, then this again")
        prefix = [sudo, "-n", "env", "DEBIAN_FRONTEND=noninteractive"]
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    say(f"installing {wanted} (apt-get)")
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        run = subprocess.run([*prefix, "apt-get", *arguments], env=env, capture_output=True, text=True)
        if run.returncode and arguments[0] == "install":
            last = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise Missing(f"apt-get could not install {wanted}: {last}")


def ensure_linker():
    if not (shutil.which("cc") and Path("/usr/include/stdio.h").exists()) and not shutil.which("clang"):
        apt_install("gcc", "libc6-dev")


def ensure_distribution_ffmpeg():
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        apt_install("ffmpeg")


# --- the NATS server ----------------------------------------------------------------------------------------------------


def download_package(name, folder):
    """Fetches a Debian package without installing it; False when apt cannot, as before its first `update`."""
    for update in (False, True):
        if update and subprocess.run(["apt-get", "update", "-qq"], capture_output=True).returncode:
            return False
        run = subprocess.run(["apt-get", "download", "-qq", name], cwd=folder, capture_output=True)
        if run.returncode == 0 and any(Path(folder).glob("*.deb")):
            return True
    return False


def take_nats_server(folder, target):
    """Puts the server of the package in `folder` at `target`, in one step; its first line, or Missing."""
    package = next(Path(folder).glob("*.deb"))
    subprocess.run(["dpkg", "-x", str(package), str(folder)], capture_output=True, check=True)
    found = [path for path in Path(folder).rglob("nats-server") if path.is_file() and os.access(path, os.X_OK)]
    line = version_line(found[0], "--version") if found else None
    if line is None:
        raise Missing(f"{package.name} holds no nats-server that runs here")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copy2(found[0], part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return line


def installed_nats_server():
    """Where the system has one: Debian's is not on everybody's PATH."""
    return shutil.which("nats-server", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


def ensure_nats_server(tools=TOOLS):
    """A NATS server that the tests find; its version line."""
    own = os.environ.get("RECODE_NATS_SERVER")
    if own:
        line = version_line(own, "--version")
        if line is None:
            raise Missing(f"RECODE_NATS_SERVER={own} does not run: correct or unset it")
        return line
    target = tools / "bin" / "nats-server"
    for known in (target, installed_nats_server()):
        line = version_line(known, "--version") if known else None
        if line:
            return line
    if shutil.which("apt-get") and shutil.which("dpkg"):
        say("fetching a NATS server for the tests (apt-get download nats-server, 4 MB)")
        with tempfile.TemporaryDirectory(prefix="recode-setup-") as folder:
            # apt drops its rights while it downloads, where it can.
            os.chmod(folder, 0o777)
            if download_package("nats-server", folder):
                return take_nats_server(folder, target)
    apt_install("nats-server")
    line = version_line(installed_nats_server() or "nats-server", "--version")
    if line is None:
        raise Missing("nats-server was installed and does not run: set RECODE_NATS_SERVER to one that does")
    return line


# --- the static build -------------------------------------------------------------------------------------------------


def wheel_with_pip(folder):
    """Lets pip choose and check the wheel; False when there is no pip, or it cannot."""
    for python in dict.fromkeys([sys.executable, "python3", "/usr/bin/python3"]):
        command = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--dest", str(folder), f"{PACKAGE}=={VERSION}"]
        try:
            if subprocess.run(command, capture_output=True, timeout=900).returncode == 0:
                return True
        except (OSError, subprocess.SubprocessError):
            continue
    return False


class Links(html.parser.HTMLParser):
    """The links of a page of a simple package index."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.found += [value for name, value in attributes if name == "href" and value]


def choose_wheel(links, machine):
    """The Linux wheel of the pinned version for this machine among an index page's links: (url, sha256)."""
    name = re.compile(rf"imageio_ffmpeg-{re.escape(VERSION)}-py3-none-manylinux[0-9a-z_.]*_{re.escape(machine)}\.whl$")
    for link in links:
        url, _, fragment = link.partition("#")
        if name.search(urllib.parse.unquote(url).rsplit("/", 1)[-1]):
            kind, _, value = fragment.partition("=")
            return url, value if kind == "sha256" else None
    return None


def wheel_with_urllib(folder, machine):
    """Reads the index as pip would, for a Python without pip."""
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + f"/{PACKAGE}/"
    with urllib.request.urlopen(index, timeout=60) as page:
        links = Links()
        links.feed(page.read().decode())
    chosen = choose_wheel([urllib.parse.urljoin(index, link) for link in links.found], machine)
    if chosen is None:
        raise Missing(f"the package index has no {PACKAGE} {VERSION} for {machine}: set RECODE_FFMPEG to an FFmpeg")
    url, digest = chosen
    path = folder / urllib.parse.unquote(url).rsplit("/", 1)[-1]
    with urllib.request.urlopen(url, timeout=300) as source, open(path, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    if digest and sha256(path) != digest:
        raise Missing(f"{path.name} is not what the index announced: try again")


def unpack(wheel, target):
    """Puts the FFmpeg inside `wheel` at `target`, in one step, executable."""
    with zipfile.ZipFile(wheel) as archive:
        inside = [entry for entry in archive.infolist() if "/binaries/ffmpeg-" in entry.filename]
        if not inside:
            raise Missing(f"{wheel.name} holds no FFmpeg")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with archive.open(max(inside, key=lambda entry: entry.file_size)) as source, open(part, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            part.chmod(0o755)
            line = version_line(part)
            if line is None:
                raise Missing(f"the FFmpeg of {wheel.name} does not run on this machine")
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
    return line


def stamp_of(path):
    status = path.stat()
    return {"version": VERSION, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def ensure_static_ffmpeg(tools=TOOLS):
    """The pinned build at .tools/bin/ffmpeg. A stamp beside it makes the next call free."""
    target, stamp = tools / "bin" / "ffmpeg", tools / "ffmpeg.json"
    try:
        known = json.loads(stamp.read_text())
        if target.stat().st_mode & stat.S_IXUSR and {key: known[key] for key in stamp_of(target)} == stamp_of(target):
            return known["line"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    machine = platform.machine()
    say(f"fetching a current static FFmpeg ({PACKAGE} {VERSION}, 68 MB)")
    with tempfile.TemporaryDirectory(prefix="recode-setup-") as folder:
        folder = Path(folder)
        if not wheel_with_pip(folder):
            wheel_with_urllib(folder, machine)
        wheel = next(folder.glob("*.whl"))
        if machine in WHEELS and sha256(wheel) != WHEELS[machine]:
            raise Missing(f"{wheel.name} has not the pinned digest: check the package index in use")
        line = unpack(wheel, target)
    stamp.write_text(json.dumps(dict(stamp_of(target), line=line)) + "\n")
    return line


def main():
    try:
        ensure_linker()
    except Missing as error:
        say(f"error: no C linker: {error}")
        return 1
    try:
        ensure_distribution_ffmpeg()
    except Missing as error:
        say(f"note: no ffmpeg with ffprobe on PATH, some tests are skipped: {error}")
    try:
        say(ensure_nats_server())
    except (Missing, OSError, subprocess.SubprocessError) as error:
        say(f"note: no NATS server, the tests of nodes on NATS fail: {error}")
    own = os.environ.get("RECODE_FFMPEG")
    if own:
        line = version_line(own)
        if line is None:
            say(f"error: RECODE_FFMPEG={own} does not run: correct or unset it")
            return 1
        say(f"RECODE_FFMPEG: {line}")
        return 0
    try:
        line = ensure_static_ffmpeg()
        say(f".tools/bin/ffmpeg: {' '.join(line.split()[:3])}")
    except (Missing, OSError) as error:
        if version_line("ffmpeg") is None:
            say(f"error: no FFmpeg at all: {error}")
            return 1
        say(f"note: no static FFmpeg, the one on PATH is used and cannot score: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
