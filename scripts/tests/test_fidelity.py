"""The decisions of `make fidelity`: what is run how, and what counts as passed."""

import importlib.util
import tomllib
import unittest
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "bench" / "fidelity" / "run.py"
SPEC = importlib.util.spec_from_file_location("fidelity_run", PATH)
fidelity = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fidelity)
EXPECTED = tomllib.loads((PATH.parent / "expected.toml").read_text())


def case(name="a.mp4", pass_name="mp4"):
    return fidelity.plan(EXPECTED, [name], [pass_name])[0]


class Plan(unittest.TestCase):
    def test_a_file_mp4_cannot_hold_goes_to_mkv(self):
        self.assertEqual(case().get("container"), "mp4")
        self.assertEqual(case("pgs_subs_600fps.mkv")["container"], "mkv")

    def test_a_refusal_can_belong_to_one_pass(self):
        self.assertIsNone(case("one_frame_2x2_mp3.mp4", "mp4")["refused"])
        self.assertIsNotNone(case("one_frame_2x2_mp3.mp4", "h265")["refused"])
        self.assertIsNotNone(case("audio_only.mp4", "mkv")["refused"])

    def test_only_limits_files_and_unknown_passes_are_named(self):
        cases = fidelity.plan(EXPECTED, ["a.mp4", "b.mkv"], ["mp4", "mkv"], "*.mkv")
        self.assertEqual([(one["pass"], one["file"]) for one in cases], [("mp4", "b.mkv"), ("mkv", "b.mkv")])
        with self.assertRaisesRegex(fidelity.CannotRun, "no such pass: nope"):
            fidelity.plan(EXPECTED, ["a.mp4"], ["nope"])

    def test_every_rule_says_its_cause(self):
        for name, rule in EXPECTED["files"].items():
            self.assertTrue(rule.get("cause"), name)


class Verdict(unittest.TestCase):
    def of(self, name, status, stderr="", output=False, warnings=(), pass_name="mp4"):
        decided = fidelity.verdict_of_client(case(name, pass_name), status, stderr, output, list(warnings))
        return decided and decided[0]

    def test_an_ordinary_end_is_left_to_the_judge(self):
        self.assertIsNone(self.of("a.mp4", 0, output=True))
        self.assertEqual(self.of("a.mp4", 1, "recode-client: no"), "fail")

    def test_a_refusal_needs_its_reason_and_no_output(self):
        said = "recode-client: audio_only.mp4 has no picture"
        self.assertEqual(self.of("audio_only.mp4", 3, said), "refused")
        self.assertEqual(self.of("audio_only.mp4", 3, said, output=True), "fail")
        self.assertEqual(self.of("audio_only.mp4", 3, "recode-client: disk full"), "fail")
        self.assertEqual(self.of("audio_only.mp4", 0, output=True), "fail")

    def test_dynamic_hdr_must_be_warned_about(self):
        name = "hdr10plus_hevc_2398.mkv"
        self.assertEqual(self.of(name, 0, output=True), "fail")
        self.assertIsNone(self.of(name, 0, output=True, warnings=["HDR10+ metadata is lost: ..."]))

    def test_the_judge_decides_the_rest(self):
        self.assertEqual(fidelity.verdict_of_judge(0, {"checks": []}), ("pass", ""))
        failed = {"failed": ["frames"], "checks": [{"name": "frames", "status": "fail", "got": "9", "expected": "10"}]}
        self.assertEqual(fidelity.verdict_of_judge(1, failed), ("fail", "judge: frames: 9, not 10"))
        self.assertEqual(fidelity.verdict_of_judge(2, {"error": "no ffprobe"})[0], "fail")
        waived = {"checks": [{"name": "streams.chapters", "status": "waived"}]}
        self.assertIn("streams.chapters", fidelity.verdict_of_judge(0, waived)[1])


class Table(unittest.TestCase):
    def test_counts_by_pass_and_names_what_failed(self):
        base = {"pass": "mp4", "file": "a.mp4", "why": "", "cause": None}
        results = [dict(base, verdict="pass"), dict(base, file="b.mp4", verdict="fail", why="judge: frames")]
        text = "\n".join(fidelity.table(results))
        self.assertIn("mp4             2      1        0     1", text)
        self.assertIn("FAIL mp4 b.mp4: judge: frames", text)


if __name__ == "__main__":
    unittest.main()
