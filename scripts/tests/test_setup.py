"""The set-up's decisions: which wheel, what is unpacked, when nothing is done. No network."""

import io
import os
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import setup

PAGE = """
<a href="../f/imageio_ffmpeg-0.8.1-py3-none-macosx_10_13_x86_64.whl#sha256=aa">mac</a>
<a href="../f/imageio_ffmpeg-0.8.1-py3-none-manylinux_2_28_aarch64.whl#sha256=bb">arm</a>
<a href="../f/imageio_ffmpeg-0.8.0-py3-none-manylinux_2_28_x86_64.whl#sha256=cc">older</a>
<a href="../f/imageio_ffmpeg-0.8.1-py3-none-manylinux_2_28_x86_64.whl#sha256=dd">wanted</a>
"""


def wheel(folder, files):
    path = Path(folder) / "imageio_ffmpeg-0.8.1-py3-none-manylinux_2_28_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


class ChooseWheel(unittest.TestCase):
    def chosen(self, machine):
        links = setup.Links()
        links.feed(PAGE)
        return setup.choose_wheel(links.found, machine)

    def test_the_pinned_version_for_this_machine(self):
        url, digest = self.chosen("x86_64")
        self.assertTrue(url.endswith("0.8.1-py3-none-manylinux_2_28_x86_64.whl"))
        self.assertEqual(digest, "dd")
        self.assertEqual(self.chosen("aarch64")[1], "bb")

    def test_none_for_a_machine_the_index_lacks(self):
        self.assertIsNone(self.chosen("riscv64"))


class NatsServer(unittest.TestCase):
    """With make-believe `apt-get` and `dpkg` on a PATH of their own."""

    SERVER = "#!/bin/sh\necho nats-server: v9 for tests\n"

    def programs(self, folder, **scripts):
        place = Path(folder) / "path"
        place.mkdir()
        for name, text in scripts.items():
            program = place / name.replace("_", "-")
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        return f"{place}:/usr/bin:/bin"

    def ensure(self, folder, path, **more):
        with mock.patch.dict("os.environ", {"PATH": path, **more}):
            if "RECODE_NATS_SERVER" not in more:
                os.environ.pop("RECODE_NATS_SERVER", None)
            with mock.patch.object(setup, "say"):
                return setup.ensure_nats_server(Path(folder) / "tools")

    def test_is_unpacked_from_the_package_and_not_installed(self):
        with tempfile.TemporaryDirectory() as folder:
            unpack = f"mkdir -p $3/usr/sbin; printf '{self.SERVER}' >$3/usr/sbin/nats-server; chmod 755 $3/usr/sbin/nats-server"
            path = self.programs(folder, apt_get='test "$1" = download && touch nats-server_9.deb', dpkg=unpack)
            which = lambda name, path=None: None if name == "nats-server" else f"/x/{name}"  # noqa: E731
            with mock.patch.object(setup.shutil, "which", which):
                self.assertEqual(self.ensure(folder, path), "nats-server: v9 for tests")
            self.assertTrue(os.access(Path(folder) / "tools" / "bin" / "nats-server", os.X_OK))
            # The next call finds it, with no apt at all.
            self.assertEqual(self.ensure(folder, "/nowhere:/usr/bin:/bin"), "nats-server: v9 for tests")

    def test_one_of_the_users_own_is_taken_or_found_wanting(self):
        with tempfile.TemporaryDirectory() as folder:
            path = self.programs(folder, mine="echo nats-server: v1")
            mine = str(Path(folder) / "path" / "mine")
            self.assertEqual(self.ensure(folder, path, RECODE_NATS_SERVER=mine), "nats-server: v1")
            with self.assertRaisesRegex(setup.Missing, "RECODE_NATS_SERVER=/nowhere does not run"):
                self.ensure(folder, path, RECODE_NATS_SERVER="/nowhere")


class Unpack(unittest.TestCase):
    SCRIPT = "#!/bin/sh\necho ffmpeg version 9 for tests\n"

    def test_puts_an_executable_in_place_and_reads_its_version(self):
        with tempfile.TemporaryDirectory() as folder:
            path = wheel(folder, {"imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9": self.SCRIPT, "a/b.txt": "x"})
            target = Path(folder) / "bin" / "ffmpeg"
            self.assertEqual(setup.unpack(path, target), "ffmpeg version 9 for tests")
            self.assertTrue(target.stat().st_mode & 0o100)
            self.assertEqual([entry.name for entry in target.parent.iterdir()], ["ffmpeg"])

    def test_a_build_that_does_not_run_leaves_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            path = wheel(folder, {"imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9": "#!/bin/sh\nexit 1\n"})
            target = Path(folder) / "bin" / "ffmpeg"
            with self.assertRaisesRegex(setup.Missing, "does not run"):
                setup.unpack(path, target)
            self.assertEqual(list(target.parent.iterdir()), [])

    def test_a_wheel_without_ffmpeg_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaisesRegex(setup.Missing, "holds no FFmpeg"):
                setup.unpack(wheel(folder, {"imageio_ffmpeg/__init__.py": ""}), Path(folder) / "ffmpeg")


class Stamp(unittest.TestCase):
    def test_a_known_build_is_not_fetched_again(self):
        with tempfile.TemporaryDirectory() as folder:
            tools = Path(folder)
            target = tools / "bin" / "ffmpeg"
            setup.unpack(wheel(folder, {"x/binaries/ffmpeg-linux": Unpack.SCRIPT}), target)
            with io.StringIO() as text:
                setup.json.dump(dict(setup.stamp_of(target), line="known"), text)
                (tools / "ffmpeg.json").write_text(text.getvalue())
            self.assertEqual(setup.ensure_static_ffmpeg(tools), "known")


if __name__ == "__main__":
    unittest.main()
