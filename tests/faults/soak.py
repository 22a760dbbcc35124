"""Every promise of docs/reliability.md, tried as often as it says, with the counts as tables."""

from __future__ import annotations

import argparse
import inspect
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

PARTS = {
    "kills": "tests.faults.kills:kills",
    "saves": "tests.faults.saves:saves",
    "bits": "tests.faults.bits:bits",
    "downloads": "tests.faults.downloads:soak",
    "strangers": "tests.faults.hostile:soak",
    "images": "tests.faults.images:soak",
    "nan": "tests.faults.interruptions:not_finite",
    "memory": "tests.faults.interruptions:out_of_memory",
    "signals": "tests.faults.interruptions:signals",
    "web": "tests.faults.web:soak",
    "ranks": "tests.faults.lost_ranks:ranks",
    "mistakes": "tests.faults.mistakes:soak",
    "old": "tests.faults.old_runs:old_runs",
}
"""Each takes an empty folder, and most a count and a seed; each returns a Tally."""


def main() -> None:
    """Try the parts that are named, or all; exits with 1 where a promise did not hold."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; otherwise all")
    parser.add_argument("--count", type=int, help="how many trials; otherwise as many as docs/reliability.md says")
    parser.add_argument("--seed", type=int, default=0, help="decides where and when things go wrong")
    asked = parser.parse_args()
    unknown = [part for part in asked.parts if part not in PARTS]
    if unknown:
        parser.error(f'no part "{unknown[0]}"; allowed: {", ".join(PARTS)}')
    broken = 0
    for part in asked.parts or PARTS:
        module, _, name = PARTS[part].partition(":")
        try_it = getattr(import_module(module), name)
        options = {"count": asked.count, "seed": asked.seed}
        taken = inspect.signature(try_it).parameters
        given = {key: value for key, value in options.items() if key in taken and value is not None}
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="convscope-soak-") as folder:
            tally = try_it(Path(folder), **given)
        broken += len(tally.failures)
        sys.stdout.write(f"{tally}\n\n{time.monotonic() - began:.0f} s, seed {asked.seed}\n\n")
        sys.stdout.flush()
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
