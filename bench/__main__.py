"""Comparisons with other loaders: ``python -m bench FOLDER -o bench-output``, or ``make bench FOLDER=...``.

The runs of a case take turns, A B A B, each in fresh processes. Writes ``table.md``, ``results.json`` and ``plot.png``
again after each case, so that an interrupted comparison has results.
"""

import argparse
import importlib
import signal
import sys
import tempfile
from pathlib import Path

from bench import cases, machine, meter, report
from bench.case import Case
from bench.compare import CaseResult, run_case
from bench.measure import Pythons

# ruff: noqa: T201 - a benchmark prints


def main() -> None:
    """Read the arguments, run the cases, write the report."""
    options = _options()
    chosen: list[Case] = [importlib.import_module(f"bench.cases.{name}").CASE for name in cases.NAMES]
    known = [case.name for case in chosen]
    for name in options.case or ():
        if name not in known:
            sys.exit(f"there is no case {name!r}; the cases are {', '.join(known)}")
    chosen = [case for case in chosen if not options.case or case.name in options.case]
    pythons = Pythons(peers=str(options.peers) if options.peers and options.peers.exists() else None)
    meter.become_reaper()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # ends running processes with it
    options.output.mkdir(parents=True, exist_ok=True)
    about = machine.describe(pythons, pairs=options.pairs, command=" ".join(["python -m bench", *sys.argv[1:]]))
    results: list[CaseResult] = []
    for case in chosen:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.scratch) as scratch:
            done = run_case(
                case,
                options.folder,
                Path(scratch),
                pythons,
                num_pairs=options.pairs,
                scale=options.scale,
                tell=lambda line: print(line, flush=True),
            )
        results.append(done)
        report.write(options.output, results, about)
    print(f"\n{report.markdown(results, about)}\n\nwritten to {options.output}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="a folder of photographs (JPEG)")
    parser.add_argument("-o", "--output", type=Path, default=Path("bench-output"), help="folder for the report")
    parser.add_argument("--case", action="append", metavar="NAME", help="run only this case; may be repeated")
    parser.add_argument("--pairs", type=int, default=5, help="number of runs of each pair (5)")
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the amount that is measured (1)")
    parser.add_argument("--peers", type=Path, help="the Python that has the peers' libraries")
    parser.add_argument(
        "--scratch", type=Path, help="folder for prepared photographs: 3 GB (the system's temporary folder)"
    )
    options = parser.parse_args()
    if options.pairs < 1 or options.scale <= 0:
        parser.error("--pairs must be at least 1, and --scale above 0")
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder; give a folder of photographs")
    return options


if __name__ == "__main__":
    main()
