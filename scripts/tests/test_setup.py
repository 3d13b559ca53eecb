"""The set-up's decisions: which wheel, what is unpacked, when nothing is done. No network."""

import io
import tempfile
import unittest
import zipfile
from pathlib import Path

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
