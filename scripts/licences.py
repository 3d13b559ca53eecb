#!/usr/bin/env python3
"""Checks every dependency's licence against deny.toml, for machines without cargo-deny. Advisories are cargo-deny's alone."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def satisfied(expression, allowed):
    """Whether an SPDX expression can be met by licences in `allowed`. An old `A/B` means `A OR B`."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def alternatives(at):
        holds, at = conjunction(at)
        while at < len(tokens) and tokens[at] == "OR":
            right, at = conjunction(at + 1)
            holds = holds or right
        return holds, at

    def conjunction(at):
        holds, at = term(at)
        while at < len(tokens) and tokens[at] == "AND":
            right, at = term(at + 1)
            holds = holds and right
        return holds, at

    def term(at):
        if tokens[at] == "(":
            holds, at = alternatives(at + 1)
            return holds, at + 1
        name, at = tokens[at], at + 1
        if at < len(tokens) and tokens[at] == "WITH":
            name, at = f"{name} WITH {tokens[at + 1]}", at + 2
        return name in allowed, at

    return alternatives(0)[0]


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])
    banned = {entry["crate"].split("@")[0] for entry in rules["bans"]["deny"] if "@" not in entry["crate"]}
    bad = set()
    for platform in rules["graph"]["targets"][:1]:
        command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", platform]
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if told.returncode:
            print(f"licences: cargo metadata failed: {told.stderr.strip().splitlines()[-1]}")
            return 1
        metadata = json.loads(told.stdout)
        used = {node["id"] for node in metadata["resolve"]["nodes"]}
        for package in metadata["packages"]:
            if package["id"] in used:
                name = f"{package['name']} {package['version']}"
                if not satisfied(package["license"] or "none", allowed):
                    bad.add(f"{name} is under {package['license']}, which deny.toml does not allow")
                if package["name"] in banned:
                    bad.add(f"{name} is banned by deny.toml")
    for line in sorted(bad):
        print(f"licences: {line}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
