"""What `make evidence` concludes from what was measured."""

import importlib.util
import unittest
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "bench" / "evidence.py"
SPEC = importlib.util.spec_from_file_location("evidence", PATH)
evidence = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(evidence)


def record(*figures):
    return {"figures": [dict(case=case, metric=metric, values=values, **more) for case, metric, values, more in figures]}


def wall(values, case="x264-medium/a", **more):
    return case, "wall_ratio", values, more


class Pool(unittest.TestCase):
    def test_repeated_measurements_add_up(self):
        pooled = evidence.pool([record(wall([0.9, 1.0])), record(wall([0.8]))])
        figure = pooled["x264-medium/a", "wall_ratio"]
        self.assertEqual((figure["n"], figure["value"], figure["min"], figure["max"]), (3, 0.9, 0.8, 1.0))

    def test_a_count_of_the_whole_set_replaces_the_older_one(self):
        pooled = evidence.pool([record(wall([5], replaces=True)), record(wall([0], replaces=True))])
        self.assertEqual(pooled["x264-medium/a", "wall_ratio"]["values"], [0])


class Judge(unittest.TestCase):
    RULE = evidence.limit("wall_ratio", None, 0.95, cases="x264-medium/", least_n=3)

    def state(self, *records):
        return evidence.judge(self.RULE, evidence.pool(records))[0]

    def test_enough_good_measurements_hold(self):
        self.assertEqual(self.state(record(wall([0.9, 0.94, 1.2]))), "holds")

    def test_too_few_leave_it_open_and_bad_ones_fall_short(self):
        self.assertEqual(self.state(), "open")
        self.assertEqual(self.state(record(wall([0.9]))), "open")
        self.assertEqual(self.state(record(wall([0.96, 0.97, 0.98]))), "short")

    def test_one_bad_case_among_good_ones_falls_short(self):
        good, bad = wall([0.9] * 3), wall([0.99] * 3, case="x264-medium/b")
        state, text = evidence.judge(self.RULE, evidence.pool([record(good, bad)]))
        self.assertEqual(state, "short")
        self.assertIn("x264-medium/b", text)
        self.assertNotIn("x264-medium/a", text)

    def test_both_sides_of_an_interval_count(self):
        rule = evidence.limit("bitrate_error", -2, 2)
        pooled = evidence.pool([record(("a", "bitrate_error", [-2.5], {}))])
        self.assertEqual(evidence.judge(rule, pooled)[0], "short")


class Simulation(unittest.TestCase):
    TOTALS = {"runs": 9, "void": 1, "broken": [], "virtual_hours": 0.2, "tasks": 800, "faults": {"partition": 3}}

    def test_pieces_add_up_and_no_seed_is_run_twice(self):
        figures = evidence.simulation_figures("cluster", self.TOTALS, known=21)
        pooled = evidence.pool([{"figures": figures}, {"figures": figures}])
        self.assertEqual(pooled["cluster", "schedules"]["sum"], 18)
        self.assertEqual(pooled["cluster, partition", "fired"]["sum"], 6)
        self.assertEqual(pooled["cluster", "bound_95"]["values"], [0.1])
        records = [{"seed": {"cluster": 10, "core": 0}}, {"seed": {"cluster": 7, "core": 30}}, {"seed": None}]
        self.assertEqual(evidence.next_seeds(records), (10, 30))

    def test_a_class_of_faults_that_never_fired_keeps_the_line_open(self):
        rule = evidence.limit("fired", 1, None, of="sum")
        fired = [("a", "fired", [0, 0], {}), ("b", "fired", [0, 5], {})]
        state, text = evidence.judge(rule, evidence.pool([record(*fired)]))
        self.assertEqual(state, "open")
        self.assertIn("a 0", text)


class BdRate(unittest.TestCase):
    def states(self, rates):
        figures = [
            (f"x264-medium/{number}, default Segments", "bd_rate", [rate], {}) for number, rate in enumerate(rates)
        ]
        return dict(zip(["default"], evidence.judge_bd_rate(evidence.pool([record(*figures)]))))["default"]

    def test_the_mean_and_the_worst_clip_are_limited(self):
        self.assertEqual(self.states([0.1, 0.2, 0.9])[0], "holds")
        self.assertEqual(self.states([0.1, 0.2, 1.1])[0], "short")
        self.assertEqual(self.states([0.6, 0.6, 0.6])[0], "short")
        self.assertEqual(self.states([0.1])[0], "open")


class Versus(unittest.TestCase):
    def test_cells_with_the_fewest_pairs_come_first_until_all_are_full(self):
        first = evidence.next_versus_cells([])
        self.assertEqual(len(first), 12)
        settings, clip, pairs, quality = first[0]
        self.assertEqual((pairs, quality), (2, False))
        full = []
        for settings, clip in evidence.versus_cells():
            case = f"{settings}/{clip}"
            full += [wall([0.9] * 7, case=case), (case, "judge_passes", [1], {})]
        self.assertEqual(evidence.next_versus_cells([record(*full)]), [])
        cells = evidence.next_versus_cells([record(*full[2:]), record(wall([0.9] * 6, case="x264-medium/animation_720p24"))])
        self.assertEqual(cells, [("x264-medium", "animation_720p24", 1, False)])


class Digests(unittest.TestCase):
    def test_texts_and_tests_do_not_void_a_figure_but_code_does(self):
        code = ["100644 blob aa\tcrates/node/src/run/encode.rs"]
        more = [*code, "100644 blob bb\tcrates/node/tests/process.rs", "100644 blob cc\tcrates/node/README.md"]
        self.assertEqual(evidence.digest_of(code), evidence.digest_of(more))
        self.assertNotEqual(evidence.digest_of(code), evidence.digest_of([code[0].replace("aa", "ab")]))

    def test_a_comment_in_the_manifest_ages_nothing_and_a_profile_does(self):
        plain = evidence.manifest("[profile.release]\nlto = false\n")
        self.assertEqual(plain, evidence.manifest("# Why.\n[profile.release]\nlto = false # so\n"))
        self.assertNotEqual(plain, evidence.manifest("[profile.release]\nlto = true\n"))


if __name__ == "__main__":
    unittest.main()
