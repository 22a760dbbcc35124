"""`python -m bench` lists the comparisons; `python -m bench NAME …` runs one and hands it the remaining arguments."""

from __future__ import annotations

import sys

from bench import BENCHMARKS
from convscope.errors import closest

if __name__ == "__main__":
    if len(sys.argv) == 1:
        for name, entry in BENCHMARKS.items():
            print(f"{name:12}  {entry.summary}")
    elif sys.argv[1] in BENCHMARKS:
        BENCHMARKS[sys.argv[1]].load()(sys.argv[2:])
    else:
        near = closest(sys.argv[1], BENCHMARKS)
        sys.exit(f'no comparison "{sys.argv[1]}"{near}; list them: python -m bench')
