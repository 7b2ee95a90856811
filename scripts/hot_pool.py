#!/usr/bin/env python3
"""Reads what `braid compare --reference serial --trace --json` prints about a hot pool, and holds it against what can be
expected: account locks take 0.95 to 1.02 times the time of our own serial once getting hints is left out, and whoever
knows slots but no values gains no more than the critical path allows, on workers that nobody has.

The table ends with a verdict; a noise floor above a few percent says nothing either way.
Exit codes: 0 as expected, 1 not, 2 no such document.
"""
import json
import sys

LOW, HIGH = 0.95, 1.02


def main():
    try:
        rows = json.load(sys.stdin)["rows"]
    except (ValueError, KeyError):
        print("hot_pool.py: not what `braid compare --json` prints", file=sys.stderr)
        return 2
    print(f"{'profile':<16} threads  vs serial  hints apart  virtual on 8  work / span  noise floor")
    held = True
    for row in rows:
        hints = (row["hints"] or {}).get("ns", 0)
        apart = row["speedup"] * row["median_ns"] / max(row["median_ns"] - hints, 1)
        virtual = row["virtual"]
        if virtual:
            on = next(one["speedup"] for one in virtual["on"] if one["workers"] == 8)
            shown = f"{on:>12.2f}  {virtual['work_ns'] / max(virtual['span_ns'], 1):>11.2f}"
        else:
            shown = f"{'-':>12}  {'-':>11}"
        print(
            f"{row['profile']:<16} {row['threads']:>7}  {row['speedup']:>9.2f}  {apart:>11.2f}  {shown}"
            f"  {100 * row['noise_floor']:>9.1f} %"
        )
        if row["profile"].startswith("sealevel"):
            held &= LOW <= apart <= HIGH
    print(f"account locks within {LOW} to {HIGH} of serial: {'yes' if held else 'NO'}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
