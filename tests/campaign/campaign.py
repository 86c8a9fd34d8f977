"""Try for an hour to break it, and print a table of what came of it.

    python tests/campaign/campaign.py               an hour on two cores
    python tests/campaign/campaign.py --minutes 3   the same, shorter
    python tests/campaign/campaign.py --seed 7      other luck

Each group of trials has its share of the time, and children of its own: what crashes or hangs is
counted, and the next child goes on. The tests run the same trials, each of them once. What failed
is printed below the table, with the seed; the exit status says whether anything did.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "support")]

import trials  # noqa: E402

COLUMNS = "| {:<28} | {:>9} | {:>6} | {:>18} | {:>22} |"
LONGEST_MESSAGE = 3000  # characters


def row(name: str, outcome: trials.Outcome) -> str:
    """Return one line of the table."""
    longest = f"{outcome.longest * 1000:,.0f}" if outcome.longest else ""
    growth = f"{outcome.growth / 2**20:.1f}"
    return COLUMNS.format(name, f"{outcome.tried:,}", outcome.failed, longest, growth)


def main() -> int:
    """Run all groups, and print the table; return 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began, total = time.monotonic(), trials.Outcome()
    shares = {g: share for g, (_, share) in trials.GROUPS.items() if share and trials.table(g)}
    header = ("what", "tried", "failed", "longest wait, ms", "growth of memory, MB")
    print(COLUMNS.format(*header))
    print(COLUMNS.format(*["---"] * len(header)))
    for group, share in shares.items():
        seconds = options.minutes * 60 * share / sum(shares.values())
        outcome = trials.Outcome()
        for found in trials.run(trials.every(group), seconds, options.seed).values():
            outcome += found
        print(row(group, outcome), flush=True)
        total += outcome
    print(row("all", total))
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes, seed {options.seed}")
    for message in total.messages:
        print(f"\n{message[:LONGEST_MESSAGE]}")
    return int(total.failed > 0)


if __name__ == "__main__":
    sys.exit(main())
