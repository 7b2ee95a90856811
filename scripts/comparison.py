#!/usr/bin/env python3
"""Writes the tables of docs/COMPARISON.md: every profile that claims to equal the EVM, on real blocks and on the
standard workloads, measured by `braid compare` (paired and interleaved with `lean`), and in tables of their own what it
computes for workers that the machine does not have.

  scripts/comparison.py --braid target/release/braid --on ../shared/data/ethereum/mainnet --runs 5

The tables replace what lies between the two marks in the page; the rest of it, what the numbers teach, is written by
people. `--txs` is the length of the workloads.

Exit codes: 0 done, 1 a run failed or a profile was wrong, 2 wrong command line.
"""
import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"

# The standard workloads, by the names that the page gives them.
WORKLOADS = [
    ("uniform transfers", "transfers?txs={txs}"),
    ("tokens, Zipf 0.8", "erc20?txs={txs}&zipf=0.8"),
    ("tokens, Zipf 1.2", "erc20?txs={txs}&zipf=1.2"),
    ("one hot pool", "swaps?txs={txs}&pools=1"),
    ("many pools", "swaps?txs={txs}&pools=500"),
    ("order books", "orderbook?txs={txs}&markets=20"),
    ("mint counter", "mint?txs={txs}&collections=1"),
    ("compute", "compute?txs={few}"),
    ("mixed", "mainnet?txs={txs}"),
]


# Workers that nobody has, of which the tables tell.
VIRTUAL = (8, 16, 32)


def compare(braid, inputs, threads, runs):
    """Rows of `braid compare` over all profiles, with virtual times."""
    command = [braid, "compare", "--json", "-q", "--trace", "-j", threads, "--runs", str(runs)]
    for one in inputs:
        command += ["--on", one]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)["rows"]


def mean(values):
    """Geometric mean, or none of nothing."""
    values = list(values)
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def times(value):
    return "" if value is None else f"{value:.2f}"


def by_profile(rows):
    """Rows by profile and threads, in the order in which they came."""
    seats = {}
    for row in rows:
        seats.setdefault((row["profile"], row["threads"]), []).append(row)
    return seats


def virtual(seats, profile):
    """Computed, not measured: ratios to the same executions one by one on the workers of VIRTUAL, geometric means. From the schedules on
    one thread, whose executions disturb nobody."""
    rows = [row for row in seats.get((profile, 1), []) if row.get("virtual")]

    def on(row, workers):
        return next(one["speedup"] for one in row["virtual"]["on"] if one["workers"] == workers)

    return [times(mean(on(row, workers) for row in rows)) for workers in VIRTUAL]


def virtual_real_table(rows, least):
    """One line a profile over the real blocks."""
    seats = by_profile([row for row in rows if row["gas_used"] >= least])
    heads = " | ".join(f"{workers} workers" for workers in VIRTUAL)
    lines = [f"| profile | {heads} | lowest, {VIRTUAL[0]} workers |", "|---" * (len(VIRTUAL) + 2) + "|"]
    for profile in dict.fromkeys(name for name, _ in seats):
        cells = virtual(seats, profile)
        if not any(cells):
            continue
        every = [row["virtual"]["on"] for row in seats.get((profile, 1), []) if row.get("virtual")]
        low = min(one["speedup"] for on in every for one in on if one["workers"] == VIRTUAL[0])
        lines.append(f"| `{profile}` | {' | '.join(cells)} | {low:.2f} |")
    return lines


def virtual_workload_table(groups):
    """One line a profile, one column a workload, in each cell the workers of VIRTUAL."""
    names = [name for name, _ in groups]
    lines = ["| profile | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    seats = [by_profile(rows) for _, rows in groups]
    for profile in dict.fromkeys(name for of in seats for name, _ in of):
        cells = [" / ".join(virtual(of, profile)).strip(" /") for of in seats]
        if any(cells):
            lines.append(f"| `{profile}` | " + " | ".join(cells) + " |")
    return lines


def real_table(rows, least):
    """One line a profile over the real blocks."""
    rows = [row for row in rows if row["gas_used"] >= least]
    seats = by_profile(rows)
    lines = [
        "| profile | 1 thread | 2 threads | lowest, 2 threads | executed again | hints | their time | precise | complete |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for profile in dict.fromkeys(name for name, _ in seats):
        one, two = seats.get((profile, 1), []), seats.get((profile, 2), [])
        last = two or one
        hints = [row["hints"] for row in last if row["hints"]]
        again = sum(row["retries"] for row in last) / max(1, sum(row["txs"] for row in last))
        share = [row["hints"]["ns"] / row["median_ns"] for row in last if row["hints"]]

        def middle(field, hints=hints):
            found = [hint[field] for hint in hints if hint[field] is not None]
            return f"{100 * statistics.median(found):.0f} %" if found else ""

        lines.append(
            f"| `{profile}` | {times(mean(row['speedup'] for row in one))} "
            f"| {times(mean(row['speedup'] for row in two))} "
            f"| {times(min((row['speedup'] for row in two), default=None))} | {100 * again:.1f} % "
            f"| {hints[0]['source'] if hints else ''} "
            f"| {f'{100 * statistics.median(share):.0f} %' if share else ''} "
            f"| {middle('precision')} | {middle('recall')} |"
        )
    blocks = len({row["input"] for row in rows})
    floor = statistics.median(row["noise_floor"] for row in rows)
    return lines, blocks, floor


def workload_table(groups, threads):
    """One line a profile, one column a workload: so many threads, or, for two, the one there is."""
    names = [name for name, _ in groups]
    lines = ["| profile | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    seats = [by_profile(rows) for _, rows in groups]
    profiles = dict.fromkeys(name for of in seats for name, _ in of)
    for profile in profiles:
        cells = []
        for of in seats:
            rows = of.get((profile, threads)) or of.get((profile, 1)) or []
            again = sum(row["retries"] for row in rows) / max(1, sum(row["txs"] for row in rows))
            cell = times(mean(row["speedup"] for row in rows))
            cells.append(cell + (f" ({100 * again:.0f} %)" if again >= 0.005 else ""))
        lines.append(f"| `{profile}` | " + " | ".join(cells) + " |")
    if threads > 1:
        limit = [next((row["limit"] for row in rows if row["threads"] == threads), None) for _, rows in groups]
        lines.append(f"| limit of the dependencies, {threads} threads | " + " | ".join(times(one) for one in limit) + " |")
    return lines


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--braid", default="target/release/braid")
    arguments.add_argument("--on", action="append", default=[], help="real blocks, as `braid compare` takes them")
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--txs", type=int, default=1000)
    arguments.add_argument("--least-gas", type=int, default=4_000_000)
    arguments.add_argument("--page", type=Path, default=Path("docs/COMPARISON.md"))
    given = arguments.parse_args()
    page = given.page.read_text()
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        sys.exit(f"{given.page}: does not have each mark once")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
    parts = [f"At {commit.stdout.strip()}, {given.runs} runs, ratios to `lean`."]
    if given.on:
        rows = compare(given.braid, given.on, "1,2", given.runs)
        lines, blocks, floor = real_table(rows, given.least_gas)
        parts += [
            f"### Real blocks\n\n{blocks} blocks of at least {given.least_gas / 1e6:g} Mgas, geometric means; "
            f"noise floor {100 * floor:.1f} % in the median.",
            "\n".join(lines),
            "### Real blocks: virtual, not measured\n\nOn workers that nobody has, by each profile's own model of "
            "conflicts (docs/REPORT.md), from the times of its schedule on one thread; getting hints and repeated "
            "executions included, everything else free. Ratios to the same executions one by one.",
            "\n".join(virtual_real_table(rows, given.least_gas)),
        ]
    groups = []
    for name, text in WORKLOADS:
        text = text.format(txs=given.txs, few=max(1, given.txs // 10))
        groups.append((name, compare(given.braid, [text], "1,2", given.runs)))
    parts += [
        f"### Workloads\n\nOf {given.txs} transactions (`compute`: {max(1, given.txs // 10)}), two threads; "
        "in brackets how many were executed again.",
        "\n".join(workload_table(groups, 2)),
        "### Workloads, one thread",
        "\n".join(workload_table(groups, 1)),
        f"### Workloads: virtual, not measured\n\nOn {' / '.join(map(str, VIRTUAL))} workers, as above.",
        "\n".join(virtual_workload_table(groups)),
    ]
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    given.page.write_text(head + BEGIN + "\n" + "\n\n".join(parts) + "\n" + END + tail)


if __name__ == "__main__":
    main()
