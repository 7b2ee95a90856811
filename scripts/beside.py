#!/usr/bin/env python3
"""Puts other engines beside Braid: every command in a process of its own, on the same cases, interleaved.

For each case the commands run in the order ours, peer, ..., peer, ours (A B B A), and a series' time is the
mean of its medians. A ratio is the peer's time over ours, so more than 1 means that ours is ahead. Two threads
that spin side by side are timed before and after (`cores`: 2.0 on two idle cores; the load average does not
show a stolen one).

  scripts/beside.py --on ../shared/data/ethereum/mainnet \\
      --ours 'target/release/braid compare aptos braid --on {case} -j 2 --runs 7 --json -q' \\
      --peer 'other=/path/to/other --threads 2 --runs 7 {case}' \\
      --pair aptos=forced --pair braid=routed

`{case}` is replaced by the case's folder. A command prints either what `braid compare --json` prints, whose series
are named by profile, or one line a series: {"case": "...", "variant": "...", "median_ns": 1, "runs": 7}.
`--pair OURS=THEIRS` says which series are compared; a peer that lacks one of them is left out there.

Exit codes: 0 all cases timed, 1 some could not be (each is named), 2 wrong command line, 130 interrupted.
"""
import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

SPIN = "for _ in range(3_000_000): pass"


def spin(count):
    """Seconds until `count` processes that spin side by side are done."""
    start = time.perf_counter()
    running = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    for one in running:
        one.wait()
    return time.perf_counter() - start


def cores():
    """What two processors are worth: best of three."""
    alone = min(spin(1) for _ in range(3))
    both = min(spin(2) for _ in range(3))
    return 2 * alone / both


def cases(paths, least_gas):
    """Folders of cases of at least `least_gas`, in order of block number."""
    found = {}
    for path in map(Path, paths):
        for meta in [path / "meta.json", *path.glob("*/meta.json")]:
            if meta.is_file():
                facts = json.loads(meta.read_text())
                if facts.get("gas_used", 0) >= least_gas:
                    found[facts["number"]] = meta.parent
    return [found[number] for number in sorted(found)]


def series(output):
    """Median nanoseconds by name of series, from either form of output."""
    try:
        document = json.loads(output)
    except json.JSONDecodeError:
        document = None
    if isinstance(document, dict) and "rows" in document:
        found = [(row["profile"], row["median_ns"]) for row in document["rows"]]
    else:
        lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        found = [(line["variant"], line["median_ns"]) for line in lines]
    times = dict(found)
    if len(times) < len(found):
        raise ValueError("a series comes twice (give one number of threads)")
    return times


class Failed(Exception):
    """A command did not give times for a case."""


def run(name, command, case, limit):
    words = [word.replace("{case}", str(case)) for word in shlex.split(command)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{name}: not done after {limit} s") from error
    except OSError as error:
        raise Failed(f"{name}: {error}") from error
    said = done.stderr.strip().splitlines()
    if done.returncode != 0:
        raise Failed(f"{name}: exit {done.returncode}: {' / '.join(said[-3:])}")
    try:
        times = series(done.stdout)
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(f"{name}: output not understood: {error!r}") from error
    if not times or any(not value > 0 for value in times.values()):
        raise Failed(f"{name}: no times")
    return times


def beside(commands, case, limit):
    """Mean of the medians of both passes by engine and series; the engines that failed, with reasons."""
    names = list(commands)
    passes, failed = {name: [] for name in names}, {}
    for name in names + names[::-1]:
        if name in failed:
            continue
        try:
            passes[name].append(run(name, commands[name], case, limit))
        except Failed as error:
            failed[name] = str(error)
    times = {}
    for name in names:
        if name not in failed:
            first, second = passes[name]
            times[name] = {key: (first[key] + second[key]) / 2 for key in first.keys() & second.keys()}
    return times, failed


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values))) if values else float("nan")


def table(rows, header):
    rows = [header, *rows]
    widths = [max(len(row[place]) for row in rows) for place in range(len(header))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)


def compare(options, found):
    commands = {"ours": options.ours, **dict(options.peer)}
    columns = [(peer, ours, theirs) for peer, _ in options.peer for ours, theirs in options.pair]
    ratios, totals, rows, problems = {column: [] for column in columns}, {}, [], []
    for case in found:
        times, failed = beside(commands, case, options.limit)
        problems += [f"{case.name}: {reason}" for reason in failed.values()]
        row = [case.name]
        for peer, ours, theirs in columns:
            mine, other = times.get("ours", {}).get(ours), times.get(peer, {}).get(theirs)
            if mine is None or other is None:
                row += ["-", "-", "-"]
                if "ours" not in failed and peer not in failed:
                    problems.append(f"{case.name}: no series {ours} or {theirs} ({peer})")
                continue
            ratios[peer, ours, theirs].append((other / mine, case.name))
            sums = totals.setdefault((peer, ours, theirs), [0, 0])
            sums[0] += mine
            sums[1] += other
            row += [f"{mine / 1e6:.3f}", f"{other / 1e6:.3f}", f"{other / mine:.2f}x"]
        rows.append(row)
        print("  ".join(row), file=sys.stderr, flush=True)
    header = ["block"]
    for peer, ours, theirs in columns:
        header += [f"{ours} ms", f"{peer} {theirs} ms", "ratio"]
    print(table(rows, header))
    print()
    summary = []
    for column in columns:
        peer, ours, theirs = column
        values = ratios[column]
        if values:
            lowest = min(values)
            behind = sum(ratio < 1 for ratio, _ in values)
            mine, other = totals[column]
            mean = geometric_mean([ratio for ratio, _ in values])
            worst = f"{lowest[0]:.2f}x ({lowest[1]})"
            summary.append(
                [f"{ours} / {peer} {theirs}", str(len(values)), f"{mean:.2f}x", f"{other / mine:.2f}x", worst, str(behind)]
            )
    print(table(summary, ["pair", "blocks", "geometric mean", "of totals", "lowest", "behind"]))
    return problems


def named(text):
    """`NAME=VALUE` as a pair."""
    name, _, value = text.partition("=")
    if not (name and value):
        raise argparse.ArgumentTypeError(f"`{text}` is not NAME=VALUE")
    return name, value


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--on", action="append", required=True, help="a case, or a folder of cases")
    parser.add_argument("--ours", required=True, help="command A, with {case}")
    parser.add_argument("--peer", action="append", type=named, required=True, help="NAME=command, with {case}")
    parser.add_argument("--pair", action="append", type=named, required=True, help="series of ours=series of theirs")
    parser.add_argument("--least-gas", type=int, default=4_000_000, help="smallest block (default 4000000)")
    parser.add_argument("--limit", type=float, default=60, help="seconds that a command may take (default 60)")
    options = parser.parse_args()
    names = [name for name, _ in options.peer]
    if len(set(names)) < len(names) or "ours" in names:
        parser.error("peers need names of their own")
    for command in [options.ours, *(command for _, command in options.peer)]:
        if "{case}" not in command:
            parser.error(f"no {{case}} in `{command}`")
    found = cases(options.on, options.least_gas)
    if not found:
        parser.error(f"no case of at least {options.least_gas} gas in {', '.join(options.on)}")
    print(f"cores: {cores():.2f} before", flush=True)
    problems = compare(options, found)
    print(f"cores: {cores():.2f} after")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
