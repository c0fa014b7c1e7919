"""`make bench`: runs the measurements in this folder one after the other and keeps what they found.

    python experiments/bench [NAME…] [--list]

A measurement is a `NAME_bench.py` (or any other `.py`) here that prints its figures; each runs in a process of its own.
What it prints goes to `experiments/results/NAME.txt`, after the command, the commit and the machine, so that a figure is
never without its origin. Nothing here is a pass or a fail.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULTS = HERE.parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench BENCH=…", description="Measures what the framework itself costs.")
    parser.add_argument("names", nargs="*", help="which measurements; all by default")
    parser.add_argument("--list", action="store_true", help="only say which there are")
    arguments = parser.parse_args()
    known = {path.stem.removesuffix("_bench"): path for path in sorted(HERE.glob("*.py")) if not path.name.startswith("_")}
    if arguments.list:
        for name, path in known.items():
            print(f"{name:<16}{summary(path)}")
        return 0
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        print(f"error: no measurement called {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    failed = [name for name in arguments.names or known if not measure(name, known[name])]
    if failed:
        print(f"\nended with an error: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def summary(path: Path) -> str:
    """The first line of a script's docstring."""
    import ast

    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def measure(name: str, path: Path) -> bool:
    """Runs one script, shows what it prints as it prints it, and keeps that when it succeeds."""
    print(f"\n── {name}: {summary(path)} ──", flush=True)
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen([sys.executable, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    ok = process.wait() == 0
    if ok:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.txt").write_text(origin(path, time.monotonic() - begun) + "".join(lines), encoding="utf-8")
    return ok


def origin(path: Path, seconds: float) -> str:
    """Comment lines: command, commit, machine, how long it took."""
    facts = {
        "command": f"python {path.relative_to(ROOT)}",
        "commit": said("git", "describe", "--always", "--dirty"),
        "machine": f"{processor()}, {len(os.sched_getaffinity(0))} cores, {platform.platform()}, Python {platform.python_version()}",
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "date": time.strftime("%Y-%m-%d"),
        "took": f"{seconds:.0f} s",
    }
    return "".join(f"# {label}: {text}\n" for label, text in facts.items()) + "\n"


def said(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def processor() -> str:
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "unknown CPU")


if __name__ == "__main__":
    sys.exit(main())
