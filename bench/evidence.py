#!/usr/bin/env python3
"""`make evidence`: the promises, line by line, with what was measured for each.

    evidence.py show              where every line stands
    evidence.py run 1.4           one piece (at most 60 minutes) of one line's measurements

A piece appends records to bench/results/<line>.jsonl: what was measured, on which commit and machine, with which FFmpeg
and seed. Records count while the code they tested is unchanged between their commit and the present one (tests and texts
left out): for most lines all of crates/, proto/ and the Cargo files, for those that measure encodes and scores only the
crates that make them (`SCOPES`). Repeated measurements of one figure are put together. The measured tree must be committed.

MINUTES limits a piece further. RECODE_MEDIA and RECODE_JUDGE are needed where clips or the judge are.
"""

import datetime
import hashlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PIECE_MINUTES = 60.0
# Of a piece that is made of steps.
STEP_MINUTES = 5.0
# Simulated runs that are wanted of each kind; the cheap ones first.
SCHEDULES = {"core": 100_000, "cluster": 10_000}


class CannotRun(Exception):
    """The piece is impossible; the text says why and what to do."""


# --- the lines ----------------------------------------------------------------------------------------------------------

# What a line's figures depend on. How fast, how large and how good an encode is follows from what is cut, what FFmpeg is told and
# how Chunks are made and joined; who keeps the job, and over which API, plays no part.
EVERYTHING = ("crates", "proto", "Cargo.lock", "Cargo.toml")
TYPES = ("artifact", "container", "making", "rendition", "request", "score", "segment", "source", "table", "task", "time", "travel")
ENCODES = (*(f"crates/types/src/{noun}.rs" for noun in TYPES), "crates/media", "crates/store", "crates/node/src/run",
           "crates/node/src/slots.rs", "crates/node/src/source.rs", "crates/node/src/blocks.rs", "crates/core/src/plan")  # fmt: skip
SIMULATED = ("crates/types", "crates/core", "crates/proto", "crates/coordinator", "crates/sim", "proto", "Cargo.lock",
             "Cargo.toml")  # fmt: skip
SCOPES = {"2.2": SIMULATED, "1.3": ENCODES, "1.4": ENCODES, "1.6": ENCODES, "1.7": ENCODES, "1.8": (*ENCODES, "crates/core/src/machine"),
          "3.10": ("crates/sandbox", "crates/media/src/sandbox.rs", "crates/media/src/run"),
          "2.6": ("crates/coordinator", "crates/core", "crates/types"),
          "2.11": ("crates/coordinator", "crates/core", "crates/types", "crates/proto", "crates/testkit", "proto"),
          "3.2": ("crates/core/src/plan", "crates/core/src/schedule", "crates/types")}  # fmt: skip

SETTINGS_LIMIT = {"x264-medium": 0.95, "x265-medium": 0.80, "svtav1-6": 0.85, "vp9-3": 0.79}
CLIPS = ["animation_720p24", "camera_cuts_720p2997", "screen_1080p60"]


# One test for each behaviour of the scripted cards, of all engines each.
CARDS = ["a_card_that_works_is_offered_with_its_sessions", "without_a_card_nothing_is_offered",
         "a_card_that_lacks_the_codec_does_not_offer_it", "a_card_that_crashes_is_not_offered", "green_pictures_are_seen",
         "wrong_pictures_are_seen", "lost_frames_are_seen", "parameter_sets_that_differ_are_seen",
         "a_card_that_goes_away_between_two_samples_is_not_offered", "no_more_is_asked_of_a_card_than_it_bears",
         "a_card_that_goes_away_at_work_is_withdrawn_and_says_why"]  # fmt: skip
# What cards did, and how many encoders were treated as specified then; a limit on a sum counts each case by itself.
CARD_CASES = {"works": 14, "absent": 5, "lacks": 5, "crashes": 5, "green": 5, "negative": 5, "drops frames": 5,
              "other sets": 5, "lost": 5, "withdrawn": 1}  # fmt: skip


def limit(metric, low=None, high=None, of="value", cases=None, least_n=1, absolute=False):
    """One condition: `of` (value, which is the median, or p99, max, min, sum) of every case of a metric lies between both."""
    return {
        "metric": metric,
        "low": low,
        "high": high,
        "of": of,
        "cases": cases,
        "least_n": least_n,
        "absolute": absolute,
    }


def versus_cells():
    """The cells of line 1.4: one encoder on one clip, and the case its figures carry."""
    for clip in CLIPS:
        for settings in SETTINGS_LIMIT:
            yield settings, clip


LINES = {
    "1.1": {
        "title": "clean clone: demo and test",
        "limits": [
            limit("demo_exit", 0, 0, of="max"),
            limit("test_exit", 0, 0, of="max"),
            limit("warm_demo_wall", None, 60, of="max"),
            limit("test_wall", None, 1800, of="max"),
        ],
    },
    "1.2": {"title": "fidelity", "limits": [limit("failed", 0, 0), limit("missing", 0, 0)]},
    "1.3": {
        "title": "merged scores are exact",
        "bench": ["score-exact"],
        "limits": [
            limit(name, 0, 0, of="max", least_n=1)
            for name in ("vmaf_differs", "psnr_differs", "ssim_differs", "ms_ssim_differs", "frames_missing")
        ],
        "least_cases": 3,
    },
    "1.4": {
        "title": "wall time against plain FFmpeg",
        "limits": [
            *(
                limit("wall_ratio", None, most, cases=f"{settings}/", least_n=7)
                for settings, most in SETTINGS_LIMIT.items()
            ),
            limit("size_ratio", None, 1.01, of="max"),
            limit("vmaf_difference", -0.1, None, of="min"),
            limit("judge_passes", 1, None, of="min"),
        ],
        "least_cases": len(SETTINGS_LIMIT) * len(CLIPS),
    },
    "1.5": {
        "title": "fixed overhead",
        "bench": ["overhead"],
        "limits": [limit("overhead", None, 150, least_n=20), limit("first_run_overhead", None, 1500, of="max")],
    },
    "1.6": {
        "title": "CPU of scores",
        # Other tenants of a machine move CPU seconds by several percent: three pairs were too few to tell 1.02 from 1.05.
        "bench": ["score-cost", "--pairs", "7"],
        "limits": [limit("cpu_ratio", None, 1.03, least_n=7)],
        "least_cases": 3,
    },
    "1.7": {"title": "BD-rate against the whole file", "limits": []},
    "1.8": {
        "title": "bitrate, size, peak",
        "limits": [
            limit("bitrate_error", -2, 2),
            limit("size_error", -2, 2),
            limit("buffer_violations", 0, 0, of="max"),
        ],
        "least_cases": 18,
    },
    "1.9": {
        "title": "kill -9 and again",
        "bench": ["crash"],
        "limits": [
            limit("encoded_again", 0, 0, of="max"),
            limit("ffmpeg_survivors", 0, 0, of="max"),
            limit("outputs_that_differ", 0, 0, of="max"),
            limit("kills", 1, None, of="min", cases="killed once", least_n=20),
            limit("kills", 20, None, of="max", cases="killed 20 times"),
        ],
    },
    "1.10": {
        "title": "5,000 chunks",
        "bench": ["many-chunks"],
        "limits": [
            limit("chunks", 5000, None, of="min"),
            limit("descriptors", None, 63, of="max"),
            limit("rss", None, 300, of="max"),
            limit("judge_passes", 1, None, of="min"),
        ],
    },
    "1.11": {
        "title": "bytes from S3, scratch",
        "bench": ["s3-bytes"],
        "limits": [limit("bytes_read_ratio", None, 1.05, of="max"), limit("scratch_ratio", None, 1.0, of="max"),
                   limit("judge_passes", 1, None, of="min")],
        "least_cases": 2,
    },
    # Of tests, since they look at the inside.
    "2.6": {
        "title": "power loss and flipped bits",
        "tests": [("recode-coordinator", ["--lib"], "raft::power_loss::many")],
        "limits": [
            limit("points", 1000, None, of="sum"),
            limit("points_with_loss", 500, None, of="sum"),
            limit("lost", 0, 0, of="max"),
            limit("flips", 10_000, None, of="sum"),
            limit("flips_in_snapshot", 3000, None, of="sum"),
            limit("missed", 0, 0, of="max"),
        ],
    },
    "2.11": {
        "title": "API under bad input, fuzzed decoders",
        "tests": [
            ("recode-coordinator", ["--test", "api_table"], "every_call_answers_as_promised_whatever_comes"),
            ("recode-proto", ["--test", "fuzz"], "for_long"),
            ("recode-coordinator", ["--lib"], "raft::fuzz::log_for_long"),
            ("recode-coordinator", ["--lib"], "raft::fuzz::snapshot_for_long"),
        ],
        "limits": [
            limit("not_as_promised", 0, 0, of="max"),
            *(limit("cpu_minutes", 30, None, of="sum", cases=case) for case in ("proto", "log", "snapshot")),
            limit("panics", 0, 0, of="max"),
        ],
    },
    "1.12": {
        "title": "messages",
        "limits": [limit("failed", 0, 0), limit("left_out", 0, 0), limit("messages", 30, None)],
    },
    "3.1": {
        "title": "two sites by one command, one of which reaches only NATS and S3",
        "limits": [
            limit("demo_exit", 0, 0, of="max"),
            limit("output_wrong", 0, 0, of="max"),
            limit("coordinators_reached_from_west", 0, 0, of="max"),
            limit("segments_of_west", 1, None, of="min"),
            limit("segments_of_east", 1, None, of="min"),
            limit("events_over_nats", 1, None, of="min"),
        ],
    },
    "2.1": {
        "title": "a cluster by one command, its leader killed",
        "limits": [
            limit("demo_exit", 0, 0, of="max"),
            limit("output_wrong", 0, 0, of="max"),
            limit("attempts_repeated", 0, 0, of="max"),
            limit("gap", None, 4, of="max"),
        ],
    },
    "2.2": {
        "title": "simulation: runs of coordinators on openraft, runs of the core alone, planted bugs",
        "limits": [
            *(limit("schedules", least, None, of="sum", cases=kind) for kind, least in SCHEDULES.items()),
            limit("broken", 0, 0, of="max"),
            # Of every class of faults.
            limit("fired", 1, None, of="sum"),
            limit("planted", 30, None),
            limit("planted_found", 0.95, None),
            limit("planted_slowest", None, 180),
        ],
    },
    "2.3": {
        "title": "chaos of real processes",
        "limits": [
            limit("seconds", 20, None, of="min"),
            limit("jobs", 20, None, of="min"),
            limit("faults_fired", 3, None, of="min"),
            *(
                limit(name, 0, 0, of="max", cases=case, least_n=runs)
                for case, runs in (("played FFmpeg", 200), ("real FFmpeg", 10))
                for name in ("jobs_lost", "segments_twice", "segments_missing", "objects_wrong", "logs_apart", "crashes")
            ),
        ],
        "least_cases": 2,
    },
    "2.4": {
        "title": "the same bytes, whoever dies",
        "bench": ["same-bytes", "--clip", "samples/sintel_trailer_720p24.mp4"],
        "limits": [
            limit("outputs_that_differ", 0, 0, of="max", least_n=17),
            limit("kills", 1, None, of="min", least_n=17),
        ],
        "least_cases": 3,
    },
    "3.13": {
        "title": "Chunk times foretold by a node's own samples",
        "bench": ["predict", "--seconds", "40"],
        "limits": [limit("median_error", None, 15), limit("chunks", 100, None)],
    },
    "3.14": {
        "title": "cards: chosen, limited by sessions, refused, withdrawn (scripted FFmpeg)",
        "tests": [("recode-testkit", ["--test", "cards"], f"measured::{test}") for test in CARDS],
        "limits": [
            *(limit("as_specified", least, None, of="min", cases=case) for case, least in CARD_CASES.items()),
            limit("otherwise", 0, 0, of="max"),
            limit("encodes", 4, None, of="min"),
            limit("refused", 0, 0, of="max"),
        ],
    },
    "2.12": {
        "title": "two builds in one cluster",
        "limits": [
            limit("jobs_lost", 0, 0, of="max"),
            limit("encoded_again", 0, 0, of="max"),
            limit("old_while_mixed", 1, None, of="min"),
            limit("new_while_mixed", 0, 0, of="max"),
            limit("new_afterwards", 1, None, of="min"),
        ],
        "least_cases": 2,
    },
    "2.5": {
        "title": "failover under load",
        "bench": ["control-plane", "--calm", "10", "--failover", "100"],
        "limits": [
            limit("gap", None, 2.0, least_n=100),
            limit("gap", None, 2.5, of="p99", least_n=100),
            limit("gap", None, 4.0, of="max", least_n=100),
            limit("encodes_restarted", 0, 0, of="max"),
            limit("elections", 0, 0, of="max"),
            limit("minutes", 10, None, of="min"),
            limit("cores_busy", 0.95, None, of="min"),
        ],
    },
    "2.7": {
        "title": "transitions a second",
        "bench": ["control-plane", "--rate", "3"],
        "limits": [
            limit("transitions_per_second", 5000, None, least_n=3),
            limit("share_of_the_promised_rate", 0.45, 0.6, least_n=3),
            # Of both: of what the cluster bears, and of what is promised.
            limit("share_of_the_highest_rate", 0.45, 0.6, least_n=3),
            limit("commit_p99", None, 25, cases="at half", least_n=3),
            limit("dispatch_p99", None, 20, cases="at half", least_n=3),
        ],
    },
    "2.8": {
        "title": "100,000 Segments x 10 Renditions",
        "bench": ["control-plane", "--large-job"],
        "limits": [
            limit("segments", 100_000, None, of="min"),
            limit("plan", None, 5, of="max"),
            limit("log_per_task", None, 200, of="max"),
            limit("leader_rss", None, 500, of="max"),
            limit("status_p99", None, 50, of="max"),
            limit("failover", None, 5, of="max"),
            limit("leader_cpu_per_task", None, 100, of="max"),
        ],
    },
    "2.9": {
        "title": "a million Tasks restored",
        "bench": ["control-plane", "--restore", "7"],
        "limits": [limit("ready", None, 3, of="max", least_n=7),
                   limit("entries_behind_the_snapshot", 1, None, of="min")],
    },
    "2.10": {
        "title": "1,000 nodes and 300 clients",
        "bench": ["control-plane", "--herd", "10"],
        "limits": [
            limit("extra_elections", 0, 0, of="max", least_n=10),
            limit("all_back", None, 30, of="max", least_n=10),
            limit("exchanges_cut_off", 0, 0, of="max", least_n=10),
            limit("leader_rss", None, 200, of="max", least_n=10),
        ],
    },
    "3.5": {
        "title": "spot notices",
        "bench": ["leaving", "--spot", "--clip", "samples/sintel_trailer_720p24.mp4"],
        "limits": [
            limit("lost", 0, 0, of="max", least_n=100),
            limit("refused_after", None, 1, of="max", least_n=100),
            limit("delivered", 0.95, None, of="min"),
            limit("failed_attempts", 0, 0, of="max"),
            limit("outputs_that_differ", 0, 0, of="max"),
        ],
    },
    "3.6": {
        "title": "two sites and one source",
        "bench": ["peers", "--clip", "samples/sintel_trailer_720p24.mp4"],
        "limits": [
            limit("source_megabytes", 2000, None, of="min"),
            limit("source_ratio", None, 1.05, of="max"),
            limit("paid_ratio", None, 1.02, of="max"),
            limit("source_ratio_off", 2, None, of="min"),
            limit("readers_of_a_segment", 2, None, of="min"),
        ],
    },
    "3.8": {
        "title": "NATS killed and flooded; the conformance suite of the mesh",
        "bench": ["links", "--nats-faults"],
        "limits": [
            limit("behaviours", 16, None, of="min"),
            limit("behaviours_broken", 0, 0, of="max"),
            limit("jobs", 50, None, of="min"),
            limit("kills", 5, None, of="min"),
            limit("kills_beyond_a_lease", 1, None, of="min"),
            limit("flood_messages", 10_000, None, of="min"),
            *(
                limit(name, 0, 0, of="max")
                for name in ("jobs_lost", "segments_twice", "segments_missing", "objects_wrong", "logs_apart")
            ),
        ],
        "least_cases": 3,
    },
    "3.12": {
        "title": "coordinators gone for a minute",
        "bench": ["links", "--coordinator-gone"],
        "limits": [
            limit("seconds_gone", 60, None, of="min"),
            limit("slot_busy", 0.95, None, of="min", least_n=4),
            *(
                limit(name, 0, 0, of="max")
                for name in ("attempts_repeated", "jobs_lost", "segments_twice", "segments_missing", "objects_wrong")
            ),
        ],
        "least_cases": 2,
    },
    "3.2": {
        "title": "time on unequal nodes against the bound, simulated; 256 nodes: of a film cut with --spread",
        "bench": ["mesh", "--simulate"],
        "limits": [
            limit("makespan_ratio", None, 1.05, of="max", cases="1:2:4, ", least_n=5),
            # The median of films: of 45 one took 1.064, all others at most 1.047.
            limit("makespan_ratio", None, 1.05, cases="256 equal, 120 min, spread", least_n=5),
        ],
        "least_cases": 6,
    },
    "3.3": {
        "title": "one of eight nodes at a tenth of the speed",
        "bench": ["mesh", "--straggler", "--runs", "5"],
        "limits": [
            limit("wall_ratio", None, 1.15, least_n=5),
            limit("extra_cpu", None, 0.05, least_n=5),
            limit("segments", 40, 80, of="min"),
            limit("segments", 40, 80, of="max"),
        ],
    },
    "3.4": {
        "title": "a node dies within every ten seconds, and once more with --split-tail",
        "limits": [
            limit("cpu_ratio", None, 1.1),
            limit("chunk_cpu", 3, 5),
            limit("outputs_that_differ", 0, 0, of="max"),
            limit("judge_passes", 1, None, of="min", cases="split tail"),
            limit("wall", 600, None, of="min"),
        ],
        "least_cases": 2,
    },
    "3.7": {
        "title": "a bad day of S3",
        "bench": ["s3-faults", "--clip", "samples/sintel_trailer_720p24.mp4"],
        "limits": [
            limit("jobs", 100, None, of="sum"),
            limit("jobs_not_done", 0, 0, of="max"),
            limit("outputs_wrong", 0, 0, of="max"),
            limit("request_ratio", None, 1.3, of="max"),
        ],
    },
    "3.11": {
        "title": "a small disk and much work",
        "bench": ["leaving", "--budget"],
        "limits": [
            limit("most_used", None, 1, of="max"),
            limit("work", 20, None, of="min"),
            limit("failed_attempts", 0, 0, of="max"),
        ],
    },
    "3.9": {
        "title": "hostile files and options",
        "bench": ["hostile"],
        "limits": [
            # Every kind of canary fires where nothing holds it back, as each user.
            *(
                limit("control_fired", 1, None, of="min", cases=f"control, {user}, {kind}")
                for user in ("root", "nobody")
                for kind in ("read", "write", "tcp", "udp", "dns", "spawn")
            ),
            *(limit("hits", 0, 0, of="max", cases=f"{place}, ") for place in ("sandbox", "validator", "node")),
            limit("accepted", 0, 0, of="max"),
            limit("files", 60, None, of="min"),
            limit("strings", 150, None, of="min"),
            limit("healthy_after", None, 5, of="max", least_n=60),
        ],
        "least_cases": 17,
    },
    "3.10": {
        "title": "cost of the sandbox",
        # Short encodes, many of them: what a machine does beside them changes slowly, and both runs of a pair meet the same.
        "bench": ["sandbox-cost", "--clip", "samples/sintel_trailer_720p24.mp4", "--seconds", "3", "--encodes", "60"],
        "limits": [
            limit("start_added", None, 20, least_n=50),
            limit("wall_ratio", None, 1.01, least_n=60),
            limit("cpu_ratio", None, 1.01, least_n=60),
        ],
    },
}


# --- decisions, without IO ----------------------------------------------------------------------------------------------


def pool(records):
    """Puts together what was measured of the same figure: (case, metric) -> figure with all values."""
    figures = {}
    for record in records:
        for figure in record["figures"]:
            key = figure["case"], figure["metric"]
            # A newer whole-set count replaces the older one; repeated timings add up.
            if key in figures and not figure.get("replaces"):
                figures[key]["values"] += figure["values"]
            else:
                figures[key] = dict(figure, values=list(figure["values"]))
    for figure in figures.values():
        values = figure["values"]
        # By nearest rank: of fewer than a hundred values it is the largest.
        p99 = sorted(values)[-(-99 * len(values) // 100) - 1]
        figure.update(value=statistics.median(values), n=len(values), min=min(values), max=max(values), sum=sum(values),
                      p99=p99)  # fmt: skip
    return figures


def judge(rule, figures):
    """Whether one limit holds: (state, text) with state `holds`, `short` or `open`."""
    chosen = [
        (case, figure)
        for (case, metric), figure in sorted(figures.items())
        if metric == rule["metric"] and (rule["cases"] is None or rule["cases"] in case)
    ]
    wanted = describe(rule)
    if not chosen:
        return "open", f"{wanted}: not measured"
    bad = [
        f"{case} {figure[rule['of']]:.4g}"
        for case, figure in chosen
        if not within(figure[rule["of"]], rule["low"], rule["high"])
    ]
    if bad:
        # A sum grows with every piece.
        return "open" if rule["of"] == "sum" else "short", f"{wanted}: " + ", ".join(bad)
    thin = [f"{case} n={figure['n']}" for case, figure in chosen if figure["n"] < rule["least_n"]]
    worst = max((figure[rule["of"]] for _, figure in chosen), key=lambda value: distance(value, rule))
    if thin:
        return "open", f"{wanted}: so far, {', '.join(thin)} of {rule['least_n']}"
    return "holds", f"{wanted}: {worst:.4g} at worst of {len(chosen)}"


def within(value, low, high):
    return (low is None or value >= low) and (high is None or value <= high)


def distance(value, rule):
    """How near a value comes to the limit; larger is worse."""
    if rule["low"] is not None and rule["high"] is not None:
        return abs(value - (rule["low"] + rule["high"]) / 2)
    return value if rule["high"] is not None else -value


def describe(rule):
    of = "" if rule["of"] == "value" else f" ({rule['of']})"
    where = f" {rule['cases']}" if rule["cases"] else ""
    if rule["low"] == rule["high"]:
        return f"{rule['metric']}{where}{of} = {rule['low']:g}"
    if rule["low"] is None:
        return f"{rule['metric']}{where}{of} <= {rule['high']:g}"
    if rule["high"] is None:
        return f"{rule['metric']}{where}{of} >= {rule['low']:g}"
    return f"{rule['metric']}{where}{of} in {rule['low']:g}..{rule['high']:g}"


def judge_bd_rate(figures):
    """Line 1.7: means by encoder, and the worst clip, for default Segments and for a fixed GOP."""
    answers = []
    for fixed, mean_limit, clip_limit in ((False, 0.5, 1.0), (True, 0.3, 0.6)):
        for settings in ("x264-medium", "x265-medium", "svtav1-6"):
            rates = {
                case: figure["value"]
                for (case, metric), figure in figures.items()
                if metric == "bd_rate"
                and case.startswith(settings)
                and ("fixed GOP" in case) == fixed
                and "default Segments" in case
            }
            spread = [
                figure["value"]
                for (case, metric), figure in figures.items()
                if metric == "plain_bd_rate" and case.startswith(settings) and ("fixed GOP" in case) == fixed
            ]
            name = f"{settings}{', fixed GOP' if fixed else ''}"
            if len(rates) < 3:
                answers.append(("open", f"{name}: {len(rates)} of 3 clips measured"))
                continue
            mean, worst = statistics.mean(rates.values()), max(rates.values())
            holds = mean <= mean_limit and worst <= clip_limit
            beside = ", ".join(f"{value:+.2f}" for value in spread)
            answers.append(
                (
                    "holds" if holds else "short",
                    f"{name}: mean {mean:+.3f} % (<= {mean_limit}), worst {worst:+.3f} % (<= {clip_limit}); "
                    f"plain against plain {beside} %",
                )
            )
    return answers


def judge_line(name, records):
    """All answers of one line."""
    figures = pool(records)
    if name == "1.7":
        return judge_bd_rate(figures)
    answers = [judge(rule, figures) for rule in LINES[name]["limits"]]
    least = LINES[name].get("least_cases", 0)
    cases = {case for case, _ in figures}
    if figures and len(cases) < least:
        answers.append(("open", f"{len(cases)} of {least} cases measured"))
    return answers


def state_of(answers):
    states = {state for state, _ in answers}
    return "short" if "short" in states else "open" if "open" in states else "holds"


def next_versus_cells(records, pairs_at_once=2):
    """The cells of line 1.4, those with the fewest pairs first: (settings, clip, pairs still wanted, quality known)."""
    figures = pool(records)
    cells = []
    for settings, clip in versus_cells():
        known = figures.get((f"{settings}/{clip}", "wall_ratio"), {"n": 0})["n"]
        quality = (f"{settings}/{clip}", "judge_passes") in figures
        if known < 7 or not quality:
            cells.append((known, settings, clip, max(1, min(pairs_at_once, 7 - known)), quality))
    cells.sort(key=lambda cell: cell[0])
    return [cell[1:] for cell in cells]


# --- the shell around them ----------------------------------------------------------------------------------------------


def git(*args):
    return subprocess.run(["git", *args], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def tested_digest(line, commit="HEAD"):
    """Digest of what the measurements of a line test, as of a commit; None where that commit is not in this clone."""
    try:
        listed = git("ls-tree", "-r", commit, "--", *SCOPES.get(line, EVERYTHING)).splitlines()
        if line not in SCOPES:
            # Nothing that runs has it.
            listed = [one for one in listed if "\tcrates/sim/" not in one]
        listed = [manifest(git("show", f"{commit}:Cargo.toml")) if one.endswith("\tCargo.toml") else one for one in listed]
    except subprocess.CalledProcessError:
        return None
    return digest_of(listed, line)


def manifest(text):
    """What Cargo.toml says, without its comments, in place of its line in a listing of the tree."""
    return json.dumps(tomllib.loads(text)) + "\tCargo.toml"


# Instruments that only test builds have: what measures one line is nothing to the others.
INSTRUMENTS = {"crates/coordinator/src/raft/power_loss/": "2.6", "crates/coordinator/src/raft/fuzz/": "2.11"}


def digest_of(listed, line=None):
    """Digest of a listing of a tree, tests and texts left out, and the instruments of other lines."""
    counted = [
        one for one in listed
        if "/tests/" not in one and not one.endswith((".md", "tests.rs", ".snap"))
        and all(path not in one or line == its for path, its in INSTRUMENTS.items())
    ]  # fmt: skip
    return hashlib.sha256("\n".join(counted).encode()).hexdigest()[:16]


def current(line):
    """The records of a line that tested what is committed now."""
    now, known = tested_digest(line), {}
    for record in read(line):
        commit = record["commit"]
        if commit not in known:
            known[commit] = tested_digest(line, commit) or record["tested"]
        if known[commit] == now:
            yield record


def target():
    return Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return None


def machine():
    """What a reader needs to judge the figures."""
    model = None
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    ffmpeg = os.environ.get("RECODE_FFMPEG") or str(ROOT / ".tools" / "bin" / "ffmpeg")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "ffmpeg": first_line([ffmpeg, "-version"]),
        "load_before": os.getloadavg()[0],
    }


def read(name):
    path = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(name, figures, seed=None):
    """Appends one record; nothing when nothing was measured."""
    if not figures:
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {
        "line": name,
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "tested": tested_digest(name),
        "machine": machine(),
        "seed": seed,
        "figures": figures,
    }
    with open(RESULTS / f"{name}.jsonl", "a") as file:
        file.write(json.dumps(record) + "\n")


def figure(bench, case, metric, value, unit, paired_with="", replaces=True):
    return {
        "bench": bench,
        "case": case,
        "metric": metric,
        "value": value,
        "unit": unit,
        "n": 1,
        "min": value,
        "max": value,
        "paired_with": paired_with,
        "values": [value],
        "replaces": replaces,
    }


def build():
    command = ["cargo", "build", "--quiet", "--release", "--locked"]
    for package in ("recode-client", "recode-coordinator", "recode-node", "recode-sandbox", "recode-bench"):
        command += ["--package", package]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise CannotRun("the release binaries do not build")


def bench(arguments, minutes=None):
    """Runs recode-bench and hands its figures on, printing each. A failure keeps what came before it."""
    command = [str(target() / "release" / "recode-bench"), "--json", *arguments]
    if minutes is not None:
        command += ["--minutes", f"{minutes:.1f}"]
    print("$", " ".join(command[:1] + command[2:]), flush=True)
    figures = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        for line in child.stdout:
            found = json.loads(line)
            figures.append(found)
            print(
                f"  {found['case']:<38} {found['metric']:<20} {found['value']:>10.4f} {found['unit']:<6}"
                f" n={found['n']} {found['min']:.4f}..{found['max']:.4f}",
                flush=True,
            )
    return figures, child.returncode


def run_bench_line(name, minutes):
    seed = len(read(name)) + 1
    arguments = list(LINES[name]["bench"])
    if name == "1.9":
        arguments += ["--clip", "bench_camera_cuts_720p2997.mp4"]
    seeded = name in ("1.9", "2.4", "3.5", "3.7", "3.8")
    if seeded:
        arguments += ["--seed", str(seed)]
    if name == "3.2":
        # Each piece has films of its own, with one seed each.
        arguments += ["--seed", str(100 * seed)]
    figures, status = bench(arguments, minutes)
    write(name, figures, seed if seeded or name == "3.2" else None)
    return status


def run_rates(minutes):
    """One codec on one clip at a time, so that a piece that ends early keeps what it has."""
    deadline = time.monotonic() + 60 * minutes
    status = 0
    for clip in CLIPS:
        for codec in ("h264", "h265"):
            known = [case for case, _ in pool(current("1.8")) if case.startswith(f"{codec}/{clip} ")]
            if not known and time.monotonic() < deadline:
                figures, one = bench(["rate", "--codec", codec, "--clip", f"bench_{clip}.mp4"])
                write("1.8", figures)
                status = status or one
    return status


def run_mixed_versions(minutes):
    """The coordinator is built a second time, as one that knows a command less, and both work in one cluster."""
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--package", "recode-coordinator"]
    built = target() / "release" / "recode-coordinator"
    earlier = built.with_name("recode-coordinator-earlier")
    if subprocess.run([*command, "--features", "earlier"], cwd=ROOT).returncode:
        raise CannotRun("the earlier build of recode-coordinator does not build")
    shutil.copy(built, earlier)
    build()
    sample = "samples/sintel_trailer_720p24.mp4"
    figures, status = bench(["mixed-versions", "--clip", sample, "--earlier", str(earlier)], minutes)
    write("2.12", figures)
    return status


def run_cluster_demo():
    """What the README says of a cluster on one machine."""
    said = (
        ("gap", "s", r"leads after ([0-9.]+) s"),
        ("attempts_repeated", "count", r"had to be repeated: ([0-9]+)"),
    )
    return run_demo("2.1", "cluster-demo", "sintel.mkv", said)


def run_hybrid_demo():
    """What the README says of two sites on one machine."""
    said = (
        ("coordinators_reached_from_west", "count", r"site west (reaches|does not reach) a coordinator"),
        ("segments_of_west", "count", r"nodes at site west encoded ([0-9]+) of"),
        ("segments_of_east", "count", r"nodes at site east encoded ([0-9]+) of"),
        ("events_over_nats", "count", r"([0-9]+) events came over NATS"),
    )
    return run_demo("3.1", "cluster-hybrid", "s3/media/sintel.mkv", said)


def run_demo(line, target, output, said):
    """Runs `make target`, decodes and counts what comes out, and adds up what it said: (metric, unit, pattern)."""
    with tempfile.TemporaryDirectory(prefix="recode-cluster-") as parent:
        folder = Path(parent) / "cluster"
        env = dict(os.environ, RECODE_CLUSTER_DIR=str(folder))
        done = subprocess.run(["make", target], cwd=ROOT, env=env, capture_output=True, text=True)
        print(done.stdout, done.stderr, sep="")
        frames = [decoded_frames(ROOT / "samples" / "sintel_trailer_720p24.mp4"), decoded_frames(folder / output)]
    wrong = int(frames[0] is None or frames[0] != frames[1])
    found = [
        figure(target, "one machine", "demo_exit", done.returncode, "count", replaces=False),
        figure(target, "one machine", "output_wrong", wrong, "count", "frames of the source", replaces=False),
    ]
    for metric, unit, pattern in said:
        values = [float({"reaches": 1, "does not reach": 0}.get(value, value)) for value in re.findall(pattern, done.stdout)]
        # What was not said is no figure, so that the line stays open.
        if values:
            found.append(figure(target, "one machine", metric, sum(values), unit, replaces=False))
    write(line, found)
    return done.returncode or wrong


def decoded_frames(path):
    """Frames of picture that FFmpeg decodes from a file; None where it does not."""
    ffmpeg = os.environ.get("RECODE_FFMPEG") or str(ROOT / ".tools" / "bin" / "ffmpeg")
    command = [ffmpeg, "-v", "error", "-i", str(path), "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framecrc", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    return len(lines) if done.returncode == 0 and lines else None


def run_chaos(minutes):
    """Mostly with encodes played back, and at the end some with FFmpeg itself."""
    figures = pool(current("2.3"))
    known = {case: figure["n"] for (case, metric), figure in figures.items() if metric == "jobs_lost"}
    # Pieces of one line never share a seed.
    seed = 100_000 * (len(read("2.3")) + 1)
    status = 0
    deadline = time.monotonic() + 60 * minutes
    for case, wanted, share, extra in (
        ("played FFmpeg", 200, 0.8, ["--at-once", "3"]),
        ("real FFmpeg", 10, 1.0, ["--real", "--at-once", "1"]),
    ):
        missing = wanted - known.get(case, 0)
        left = (deadline - time.monotonic()) / 60
        if missing > 0 and left > 0:
            found, one = bench(["chaos", "--runs", str(missing), "--seed", str(seed), *extra], left * share)
            write("2.3", found, seed)
            status = status or one
            seed += 50_000
    return status


def run_versus(minutes):
    if not os.environ.get("RECODE_JUDGE"):
        raise CannotRun("RECODE_JUDGE does not name the judging program: set it to the path of check.py")
    deadline = time.monotonic() + 60 * minutes
    status = 0
    while time.monotonic() < deadline:
        cells = next_versus_cells(list(current("1.4")))
        if not cells:
            break
        settings, clip, pairs, quality = cells[0]
        arguments = ["versus-ffmpeg", "--settings", settings, "--clip", f"bench_{clip}.mp4", "--pairs", str(pairs)]
        figures, status = bench(arguments + (["--no-quality"] if quality else []))
        write("1.4", figures)
        if status:
            break
    return status


def run_losses(minutes):
    """One kind of run after the other, whichever has fewer first."""
    if not os.environ.get("RECODE_JUDGE"):
        raise CannotRun("RECODE_JUDGE does not name the judging program: set it to the path of check.py")
    known = pool(current("3.4"))
    # As asked; with --split-tail; and, beside them, what deaths cost where there are half as many for the work of a slot.
    kinds = {"": [], "split tail": ["--split-tail"], "every 20 s": ["--every", "20"]}
    counts = dict.fromkeys(kinds, 0)
    for (case, metric), found in known.items():
        # Those that died by the clock are another case (losses.rs).
        if metric == "cpu_ratio" and "within" in case:
            counts[next((kind for kind in kinds if kind and kind in case), "")] += found["n"]
    deadline = time.monotonic() + 60 * minutes
    status = 0
    for kind in sorted(counts, key=lambda kind: (counts[kind], list(kinds).index(kind))):
        left = (deadline - time.monotonic()) / 60
        # Both runs of a pair take ten minutes and more.
        if left < 25 or status:
            break
        seed = len(read("3.4")) + 1
        figures, status = bench(["mesh", "--losses", *kinds[kind], "--seed", str(seed)], left)
        write("3.4", figures, seed)
    return status


def run_quality(minutes):
    deadline = time.monotonic() + 60 * minutes
    status = 0
    known = pool(current("1.7"))
    for gop in ([], ["--gop", "2"]):
        for settings in ("x264-medium", "svtav1-6", "x265-medium"):
            for clip in CLIPS:
                case = f"{settings}/{clip}{', fixed GOP' if gop else ''}, default Segments"
                if (case, "bd_rate") in known or time.monotonic() > deadline:
                    continue
                arguments = ["quality", "--settings", settings, "--clip", f"bench_{clip}.mp4", *gop]
                figures, one = bench(arguments)
                for found in figures:
                    found["replaces"] = True
                write("1.7", figures)
                status = status or one
    return status


def run_clean_clone():
    """Clones the commit into an empty folder and does what the README says, with no tools brought along."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="recode-clone-") as folder:
        clone = Path(folder) / "recode"
        git("clone", "--quiet", str(ROOT), str(clone))
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RECODE_", "CARGO_TARGET"))}
        for name, command in (("demo", "demo"), ("test", "test"), ("warm_demo", "demo")):
            started = time.monotonic()
            status = subprocess.run(["make", command], cwd=clone, env=env).returncode
            wall = time.monotonic() - started
            figures.append(figure("clean-clone", "clean clone", f"{name}_exit", status, "count"))
            figures.append(figure("clean-clone", "clean clone", f"{name}_wall", round(wall, 1), "s"))
            print(f"  make {command}: exit {status}, {wall:.1f} s", flush=True)
    write("1.1", figures)
    return max(one["value"] for one in figures if one["metric"].endswith("_exit"))


def run_fidelity(minutes):
    env = dict(os.environ, MINUTES=f"{minutes:.1f}")
    with subprocess.Popen(
        [sys.executable, str(ROOT / "bench" / "fidelity" / "run.py")],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        summary = None
        for line in child.stdout:
            if line.startswith('{"bench": "fidelity"'):
                summary = json.loads(line)
            else:
                print(line, end="", flush=True)
    if summary:
        figures = [
            figure("fidelity", "all passes", "failed", summary["value"], "files", summary["paired_with"]),
            figure("fidelity", "all passes", "missing", summary["missing"], "files"),
        ]
        for name, counts in summary["passes"].items():
            for verdict, count in counts.items():
                figures.append(figure("fidelity", f"pass {name}", f"files_{verdict}", count, "files"))
        write("1.2", figures)
    return child.returncode


def run_messages():
    """The snapshot tests of what users are told, the slow one included."""
    # Cargo builds what a package's tests name, and theirs name only the client; without its helper the sandbox would be left out.
    helper = ["cargo", "build", "--quiet", "--locked", "--package", "recode-sandbox"]
    if subprocess.run(helper, cwd=ROOT).returncode:
        raise CannotRun("the sandbox cannot be built: `cargo build --package recode-sandbox` says why")
    command = ["cargo", "test", "--quiet", "--locked", "--package", "recode-client", "--test", "messages"]
    command += ["--", "--nocapture", "--include-ignored"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-6000:], done.stderr[-2000:])
    counts = {"passed": 0, "failed": 0, "ignored": 0}
    for line in done.stdout.splitlines():
        if line.startswith("test result:"):
            words = line.replace(";", "").split()
            for name in counts:
                counts[name] += int(words[words.index(name) - 1])
    if done.returncode and not counts["failed"]:
        counts["failed"] = 1
    not_tested = done.stderr.count("NOT TESTED")
    held = done.stdout.count("message held: ")
    write("1.12", [
        figure("messages", "snapshots", "messages", held, "count"),
        figure("messages", "snapshots", "tests_passed", counts["passed"], "count"),
        figure("messages", "snapshots", "failed", counts["failed"], "count"),
        figure("messages", "snapshots", "left_out", counts["ignored"] + not_tested, "count"),
    ])  # fmt: skip
    return done.returncode


def run_tests(name, minutes):
    """Tests that measure: each prints figures as JSON lines. They run side by side, for what they count is work done and not
    time passed. Their seeds follow from what was recorded before, so that no piece repeats another."""
    seed = len(read(name)) + 1
    env = dict(os.environ, RECODE_SEED=str(seed), RECODE_MINUTES=f"{minutes:.2f}")
    children = []
    for package, target_flags, test in LINES[name]["tests"]:
        command = ["cargo", "test", "--quiet", "--locked", "--profile", "sim", "--package", package, *target_flags]
        if subprocess.run([*command, "--no-run"], cwd=ROOT, env=env).returncode:
            raise CannotRun(f"{test} does not build")
        command += ["--", "--exact", test, "--include-ignored", "--nocapture"]
        print("$", " ".join(command), flush=True)
        children.append((test, subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)))
    figures, failed = [], []
    for test, child in children:
        # What one says while another is read waits in its pipe: it is some lines.
        for line in child.communicate()[0].splitlines():
            if not line.startswith('{"case"'):
                continue
            found = json.loads(line)
            figures.append(figure(test, found["case"], found["metric"], found["value"], "", replaces=False))
            print(f"  {found['case']:<38} {found['metric']:<20} {found['value']:>10.4g}", flush=True)
        if child.returncode:
            failed.append(test)
    if failed:
        raise CannotRun(f"{', '.join(failed)} failed, so that the figures are no figures")
    write(name, figures, seed)
    return 0


def next_seeds(records):
    """The first seed of either kind that no piece has run, whatever code it ran: (cluster, core)."""
    seeds = [record["seed"] for record in records if record["seed"]]
    return tuple(max((one[kind] for one in seeds), default=0) for kind in ("cluster", "core"))


def simulation_figures(kind, totals, known):
    """What a campaign showed. `known`: schedules of this kind that earlier pieces have run on the same code."""
    runs = totals["runs"] + totals["void"] + len(totals["broken"])
    counted = known + totals["runs"]
    figures = [
        figure("sim", kind, "schedules", totals["runs"], "runs", replaces=False),
        figure("sim", kind, "void", totals["void"], "runs", f"of {runs}", replaces=False),
        figure("sim", kind, "broken", len(totals["broken"]), "runs", replaces=False),
        # With none broken in N runs, the rate of broken ones is below 3/N with 95 % confidence.
        figure("sim", kind, "bound_95", 3 / max(counted, 1), "rate", f"of {counted} runs"),
        figure("sim", kind, "virtual", totals["virtual_hours"], "h", replaces=False),
        figure("sim", kind, "tasks", totals["tasks"], "count", replaces=False),
    ]
    for name, count in totals["faults"].items():
        figures.append(figure("sim", f"{kind}, {name}", "fired", count, "count", replaces=False))
    return figures


def hunted(figures):
    """Planted bugs that were looked for: name -> (whether it was found, CPU seconds)."""
    names = [case.removeprefix("bug ") for case, metric in figures if metric == "hunt_seconds"]
    return {
        name: (bool(figures[f"bug {name}", "hunt_found"]["value"]), figures[f"bug {name}", "hunt_seconds"]["value"])
        for name in names
    }


def is_hunted(figures):
    """Whether every planted bug was looked for."""
    return ("bugs", "to_hunt") in figures and len(hunted(figures)) >= figures["bugs", "to_hunt"]["value"]


def next_simulation(figures):
    """What is done next: of what is missing the cheapest; where nothing is, what was done least."""
    if not is_hunted(figures):
        return "bugs"

    def share(kind):
        return figures.get((kind, "schedules"), {"sum": 0})["sum"] / SCHEDULES[kind]

    def is_silent(kind):
        return any(
            metric == "fired" and case.startswith(f"{kind}, ") and not figure["sum"]
            for (case, metric), figure in figures.items()
        )

    missing = [kind for kind in SCHEDULES if share(kind) < 1 or is_silent(kind)]
    return missing[0] if missing else min(SCHEDULES, key=share)


def run_simulation(minutes):
    """Planted bugs, each once for the present code, and runs that nobody has run yet, of both kinds. In steps, each recorded when
    it ends, so that a piece that is broken off keeps what it has."""
    env = dict(os.environ, RUSTFLAGS=f"{os.environ.get('RUSTFLAGS', '')} --cfg tokio_unstable".strip())
    began, status = time.monotonic(), 0

    def sim(features, *arguments):
        """Lines of JSON, as they come."""
        command = ["cargo", "run", "--quiet", "--profile", "sim", "--locked", "--package", "recode-sim", *features]
        command += ["--", *arguments, "--json"]
        print("$", " ".join(command), flush=True)
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as child:
            yield from map(json.loads, child.stdout)
        # 1: something was found, and has been told.
        if child.returncode not in (0, 1):
            raise CannotRun("the simulation does not build or run")

    def hunt(figures, within):
        others = ("--except", ",".join(hunted(figures))) if hunted(figures) else ()
        for bug in sim(("--features", "planted"), "planted", "--minutes", within, *others):
            print(f"  {bug['bug']:<38} {'found' if bug['found'] else 'NOT FOUND':<10} {bug['cpu_seconds']:8.2f} s", flush=True)
            case = f"bug {bug['bug']}"
            write("2.2", [
                figure("sim", "bugs", "to_hunt", bug["planted"], "count"),
                figure("sim", case, "hunt_found", int(bug["found"]), "", f"{bug['kind']} seed {bug['seed']}"),
                figure("sim", case, "hunt_seconds", bug["cpu_seconds"], "s", f"{bug['runs']} runs"),
            ])  # fmt: skip
        figures = pool(current("2.2"))
        if is_hunted(figures):
            bugs = hunted(figures).values()
            found = [seconds for was_found, seconds in bugs if was_found]
            write("2.2", [
                figure("sim", "bugs", "planted", len(bugs), "count"),
                figure("sim", "bugs", "planted_found", len(found) / len(bugs), "share"),
                figure("sim", "bugs", "planted_slowest", max(found, default=0), "s"),
            ])  # fmt: skip

    def runs(kind, figures, within):
        seeds = dict(zip(("cluster", "core"), next_seeds(read("2.2")), strict=True))
        first = seeds[kind]
        (totals,) = sim((), kind, "--seeds", f"{first}..{first + 1_000_000}", "--minutes", within)
        seeds[kind] = totals["next"]
        write("2.2", simulation_figures(kind, totals, figures.get((kind, "schedules"), {"sum": 0})["sum"]), seeds)
        print(f"  {totals['runs']} runs, {totals['void']} void, {len(totals['broken'])} broken", flush=True)
        for one in totals["broken"]:
            print(f"  {kind} seed {one['seed']}: {one['what']}")
        return len(totals["broken"])

    while not status and (left := minutes - (time.monotonic() - began) / 60) > 0.1:
        figures = pool(current("2.2"))
        step, within = next_simulation(figures), f"{min(left, STEP_MINUTES):.2f}"
        if step == "bugs":
            hunt(figures, within)
        elif runs(step, figures, within):
            status = 1
    return status


def run(name):
    if name not in LINES:
        raise CannotRun(f"there is no line {name}: there are {', '.join(LINES)}")
    dirty = git("status", "--porcelain", "--", "crates", "proto", "Cargo.lock", "Cargo.toml")
    if dirty:
        raise CannotRun("crates, proto or Cargo files have changes that are not committed: figures would belong to no commit")
    minutes = min(PIECE_MINUTES, float(os.environ.get("MINUTES", PIECE_MINUTES)))
    if name == "1.1":
        return run_clean_clone()
    # As `make test` does: what is built into another target folder does not find the set-up's FFmpeg by itself.
    static = ROOT / ".tools" / "bin" / "ffmpeg"
    if static.exists() and not os.environ.get("RECODE_FFMPEG"):
        os.environ["RECODE_FFMPEG"] = str(static)
    if name == "1.12":
        return run_messages()
    if name == "2.1":
        return run_cluster_demo()
    if name == "3.1":
        return run_hybrid_demo()
    if name == "2.2":
        return run_simulation(minutes)
    if "tests" in LINES[name]:
        return run_tests(name, minutes)
    if not shutil.which("ffmpeg") and not (ROOT / ".tools" / "bin" / "ffmpeg").exists():
        raise CannotRun("no FFmpeg: run `make setup`")
    build()
    if name == "1.2":
        return run_fidelity(minutes)
    if name == "1.4":
        return run_versus(minutes)
    if name == "1.7":
        return run_quality(minutes)
    if name == "3.4":
        return run_losses(minutes)
    if name == "1.8":
        return run_rates(minutes)
    if name == "2.3":
        return run_chaos(minutes)
    if name == "2.12":
        return run_mixed_versions(minutes)
    return run_bench_line(name, minutes)


def show():
    worst = 0
    for name, line in LINES.items():
        records = read(name)
        counted = list(current(name))
        answers = judge_line(name, counted)
        state = state_of(answers) if counted else "open"
        worst = max(worst, {"holds": 0, "open": 0, "short": 1}[state])
        older = len(records) - len(counted)
        print(f"{name:<5} {state:<6} {line['title']}" + (f" ({older} older records)" if older else ""))
        for answer_state, text in answers if counted else []:
            print(f"        {answer_state:<6} {text}")
    return worst


def main(arguments):
    try:
        if arguments[:1] == ["show"] or not arguments:
            return show()
        if arguments[0] == "run" and len(arguments) == 2:
            status = run(arguments[1])
            for state, text in judge_line(arguments[1], list(current(arguments[1]))):
                print(f"{state:<6} {text}")
            return status
        print(__doc__)
        return 2
    except (CannotRun, subprocess.CalledProcessError) as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
