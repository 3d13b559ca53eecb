#!/usr/bin/env python3
"""Prints what a job report says, in a few lines; fails when the demo did not show what it is for."""

import json
import sys


def lines(report):
    """The report in words."""
    for output in report["outputs"]:
        segments = output["segments"]
        yield f"result    {output['url']}"
        yield (
            f"video     {output['frames']} frames, {output['duration_seconds']:.2f} s, {output['bytes']:,} bytes, "
            f"{len(segments)} Segments encoded apart and joined"
        )
        for score in output["scores"]:
            yield (
                f"{score['metric']:<9} mean {score['mean']:.3f}, harmonic mean {score['harmonic_mean']:.3f}, "
                f"lowest frame {score['min']:.3f}"
            )
        if output.get("score_frames"):
            yield f"frames    {output['score_frames']}"
    yield f"time      {report['wall_seconds']:.1f} s wall, {report['cpu_seconds']:.1f} s CPU"
    yield f"ffmpeg    {report['ffmpeg']}"
    for warning in report["warnings"]:
        yield f"warning   {warning}"


def main(path):
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    for line in lines(report):
        print(line)
    print(f"report    {path}")
    if any(len(output["segments"]) < 3 for output in report["outputs"]):
        print("demo: fewer than three Segments: nothing was joined")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
