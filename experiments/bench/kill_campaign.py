"""Kills runs at random moments, and takes disk, rights, clock and cache from them: nothing may be lost but what was in flight.

    python experiments/bench/kill_campaign.py [--kills 100] [--seed 0] [--only NAME…]

Real runs of a small C++ problem, each a process of its own, killed with SIGKILL while they build, verify, time, commit or
certify, and resumed. After every kill: no process of the run is left, no shared memory of it, the database is whole, and
every candidate that was committed is there as it was. A run that survives has exactly the evaluations of its budget.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FUNCTION = "import numpy as np\n\n\ndef ramp(x, bias):\n    return np.maximum(x + bias, 0.1 * x) * 0.5\n"
EVALUATIONS = 14
HASTY = ("evaluation.certify_processes=2", "evaluation.certify_spacing=0")
PATIENCE = 5.0
"""Seconds that the processes of a killed run have to vanish."""
JUMPY = """
import random, sys, time
from datetime import UTC, datetime, timedelta
import archive.schema
real = time.time
time.time = lambda: real() + random.choice((-1e5, -3600, 0, 3600, 1e7))
def now():
    jump = timedelta(seconds=random.choice((-1e5, -3600, 0, 3600, 1e7)))
    return (datetime.now(UTC) + jump).isoformat(timespec="milliseconds").replace("+00:00", "Z")
archive.schema.now = now
from evo.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Broken(AssertionError):
    """Something was lost, or left behind."""


@dataclass
class Bench:
    """A problem, a cache and a folder of runs, in one temporary folder."""

    home: Path
    tally: Counter[str] = field(default_factory=Counter)

    @property
    def environment(self) -> dict[str, str]:
        paths = {"XDG_CACHE_HOME": str(self.home / "cache"), "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "MPLBACKEND": "Agg"}
        return {**os.environ, **paths}

    def command(self, *arguments: str, program: str | None = None) -> list[str]:
        start = ["-m", "evo"] if program is None else ["-c", program]
        return [sys.executable, *start, *arguments]

    def evo(self, *arguments: str, program: str | None = None) -> subprocess.CompletedProcess[str]:
        command = self.command(*arguments, program=program)
        return subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True, check=False, timeout=300)

    def start(self, *arguments: str, program: str | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments, program=program), cwd=self.home, env=self.environment, text=True, stdin=subprocess.DEVNULL,
            stdout=(self.home / "out.txt").open("w"), stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def begin(self, run: str, seed: int = 0) -> list[str]:
        settings = [f"seed={seed}", f"budget.evaluations={EVALUATIONS}", "evaluation.repetitions=4", *HASTY]
        return ["run", "ramp/ramp.yaml", "-o", run, "--no-plot", *(word for each in settings for word in ("--set", each))]

    def said(self) -> str:
        return (self.home / "out.txt").read_text(errors="replace")


@contextmanager
def bench(home: Path | None = None) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="evo-kills-")) if home is None else home
    made = Bench(folder)
    try:
        (folder / "ramp.py").write_text(FUNCTION)
        done = made.evo("new", "ramp", "--from", "ramp.py", "--measure", "rows=256,cols=1024")
        if done.returncode != 0:
            raise Broken(f"the problem could not be made:\n{done.stdout}{done.stderr}")
        yield made
    finally:
        if home is None:
            shutil.rmtree(folder, ignore_errors=True)


# ── processes ──


def descendants(root: int) -> set[tuple[int, str]]:
    """(pid, start time) of every process below `root`, itself included."""
    below: dict[int, list[int]] = {}
    begun: dict[int, str] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            below.setdefault(int(fields[1]), []).append(int(entry.name))
            begun[int(entry.name)] = fields[19]
    found: set[tuple[int, str]] = set()
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        if pid in begun:
            found.add((pid, begun[pid]))
        waiting += below.get(pid, [])
    return found


def alive(process: tuple[int, str]) -> bool:
    """Whether it still runs; a zombie of somebody else's does not."""
    try:
        fields = Path(f"/proc/{process[0]}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[19] == process[1] and fields[0] != "Z"


def shared_memory(process: tuple[int, str]) -> int:
    """memfds that a process holds."""
    try:
        return sum(os.readlink(entry.path).startswith("/memfd:") for entry in os.scandir(f"/proc/{process[0]}/fd"))
    except OSError:
        return 0


class Watch:
    """Notes every process that a run ever had, until it is closed."""

    def __init__(self, root: int) -> None:
        self.seen: set[tuple[int, str]] = set()
        self.compiling = False
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.03):
            self.seen |= descendants(self._root)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def expect_none_left(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while left := [process for process in self.seen if alive(process)]:
            if time.monotonic() > deadline:
                raise Broken(f"{len(left)} processes outlived the run: {[Path(f'/proc/{p}/cmdline').read_bytes()[:80] for p, _ in left]}")
            time.sleep(0.05)
        if any(shared_memory(process) for process in self.seen):
            raise Broken("shared memory is still held")


# ── databases ──


def check(database: Path) -> dict[int, str]:
    """Number → digest of every committed candidate with its evaluation and samples. Raises Broken when the file is not whole."""
    if not database.exists():
        return {}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok":
            raise Broken(f"integrity check: {verdict}")
        twice = connection.execute("SELECT number FROM candidates GROUP BY run, number HAVING count(*) > 1").fetchall()
        orphans = connection.execute(
            "SELECT count(*) FROM candidates c LEFT JOIN evaluations e ON e.id = c.evaluation "
            "WHERE c.evaluation IS NOT NULL AND e.id IS NULL"
        ).fetchone()[0]
        strays = connection.execute("SELECT count(*) FROM samples WHERE evaluation NOT IN (SELECT id FROM evaluations)").fetchone()[0]
        if twice or orphans or strays:
            raise Broken(f"candidates twice: {twice}, without their evaluation: {orphans}, samples without one: {strays}")
        rows = connection.execute(
            "SELECT c.number, c.kernel, c.cell, c.status, e.outcome, e.objective, (SELECT group_concat(hex(s.pairs)) FROM samples s "
            "WHERE s.evaluation = e.id) FROM candidates c LEFT JOIN evaluations e ON e.id = c.evaluation ORDER BY c.number"
        ).fetchall()
    return {row[0]: hashlib.sha256(repr(row).encode()).hexdigest() for row in rows}


def expect_kept(before: dict[int, str], after: dict[int, str]) -> None:
    lost = [number for number, digest in before.items() if after.get(number) != digest]
    if lost:
        raise Broken(f"candidates {lost} were committed and are gone or changed")


def expect_finished(run: Path) -> None:
    """A finished run: as many evaluations as its budget, numbers without a gap, nothing in flight, a certificate."""
    summary = json.loads((run / "summary.json").read_text())
    with closing(sqlite3.connect(f"file:{run / 'run.db'}?mode=ro", uri=True)) as connection:
        numbers = [number for (number,) in connection.execute("SELECT number FROM candidates ORDER BY number")]
        proposals = connection.execute("SELECT count(*) FROM proposals").fetchone()[0]
        troubled = connection.execute("SELECT count(*) FROM evaluations WHERE outcome = 'infrastructure_error'").fetchone()[0]
        counted = connection.execute(
            "SELECT count(*) FROM evaluations e WHERE e.reused = '' AND e.outcome <> 'infeasible' "
            "AND (e.event IS NULL OR (SELECT kind FROM archive_events a WHERE a.id = e.event) = 'remeasure')"
        ).fetchone()[0]
    unfinished = proposals - len(numbers)
    if summary["evaluations"] < EVALUATIONS or counted != summary["evaluations"] or troubled:
        asked = f"{EVALUATIONS} asked for, {troubled} of them trouble"
        raise Broken(f"{summary['evaluations']} evaluations told, {counted} stored, {asked}")
    if len(set(numbers)) != len(numbers) or unfinished < 0:
        raise Broken(f"{len(numbers)} candidates of {proposals} proposals")
    if not (summary["certificate"] or {}).get("ok"):
        raise Broken("the finished run has no certificate")


# ── what is done to runs ──


def kills(made: Bench, count: int, dice: random.Random) -> None:
    """`count` kills at random moments; a run that ends before it is killed makes room for the next."""
    done, number = 0, 0
    run = made.home / "runs" / "0"
    longest = 4.0
    while done < count:
        before = check(run / "run.db")
        arguments = ["resume", str(run), "--no-plot"] if (run / "config.yaml").exists() else made.begin(str(run), number)
        process = made.start(*arguments)
        watch = Watch(process.pid)
        try:
            process.wait(timeout=dice.uniform(0.05, longest))
        except subprocess.TimeoutExpired:
            made.tally[f"killed in {_stage(made, watch, process.pid)}"] += 1
            process.kill()
            process.wait()
        watch.stop()
        watch.expect_none_left()
        after = check(run / "run.db")
        expect_kept(before, after)
        if process.returncode == -signal.SIGKILL:
            done += 1
            longest *= 1.2 if len(after) == len(before) else 0.95  # late enough for every stage, on a slow machine, too
            if done % 10 == 0:
                print(f"    {done} kills, {number} runs finished, {longest:.0f} s at most", flush=True)
            continue
        if process.returncode != 0:
            raise Broken(f"`evo {' '.join(arguments)}` ended with {process.returncode}:\n{made.said()[-3000:]}")
        expect_finished(run)
        made.tally["runs that finished in between"] += 1
        longest = max(4.0, 0.8 * longest)  # what waits longer than a run takes kills nothing
        number += 1
        run = made.home / "runs" / str(number)
    finish(made, run)


def finish(made: Bench, run: Path) -> None:
    """Resumes a run to its end and looks at what it left."""
    before = check(run / "run.db")
    done = made.evo("resume", str(run), "--no-plot") if (run / "config.yaml").exists() else made.evo(*made.begin(str(run)))
    if done.returncode != 0:
        raise Broken(f"the last resume ended with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    expect_kept(before, check(run / "run.db"))
    expect_finished(run)


def _stage(made: Bench, watch: Watch, root: int) -> str:
    """What the run was doing, as its last line and its processes tell."""
    lines = [line.split(" ")[0].rstrip(":") for line in made.said().splitlines() if line.strip()]
    stage = next((line for line in reversed(lines) if line in ("open", "replay", "seed", "search", "certify", "done")), "start")
    names = set()
    for pid, _ in descendants(root):
        try:
            names.add(Path(f"/proc/{pid}/comm").read_text().strip())
        except OSError:
            continue
    return stage + (", compiling" if names & {"cc1plus", "as", "ld", "collect2", "g++", "clang++", "clang"} else "")


def workers(made: Bench, count: int, dice: random.Random) -> None:
    """Kills the processes below a run, not the run: it goes on without them and loses nothing."""
    run = made.home / "workers"
    process = made.start(*made.begin(str(run)))
    killed = 0
    while killed < count and process.poll() is None:
        time.sleep(dice.uniform(0.5, 2.0))
        below = [pid for pid, _ in descendants(process.pid) if pid != process.pid]
        if below:
            victim = dice.choice(below)
            try:
                os.kill(victim, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                continue
    if process.wait(timeout=300) not in (0, 2):
        raise Broken(f"the run did not survive its workers:\n{made.said()[-3000:]}")
    check(run / "run.db")
    finish(made, run) if process.returncode else None
    made.tally["workers killed"] += killed


def deleted_cache(made: Bench, count: int, dice: random.Random) -> None:
    """Empties the cache of builds and ceilings `count` times while a run works."""
    run = made.home / "cache-run"
    process = made.start(*made.begin(str(run)))
    deleted = 0
    while process.poll() is None and deleted < count:
        time.sleep(dice.uniform(2.0, 5.0))
        if check(run / "run.db"):
            shutil.rmtree(made.home / "cache", ignore_errors=True)
            deleted += 1
    process.wait(timeout=600)
    made.tally["caches deleted"] += deleted
    if process.returncode != 0:
        raise Broken(f"without its cache the run ended with {process.returncode}:\n{made.said()[-3000:]}")
    expect_finished(run)


def jumping_clock(made: Bench, count: int, dice: random.Random) -> None:
    """A time of day that jumps by hours and months, over a kill and a resume."""
    run = made.home / "clock-run"
    process = made.start(*made.begin(str(run)), program=JUMPY)
    deadline = time.monotonic() + 120
    while len(check(run / "run.db")) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    before = check(run / "run.db")
    done = made.evo("resume", str(run), "--no-plot", program=JUMPY)
    if done.returncode != 0:
        raise Broken(f"under a jumping clock the resume ended with {done.returncode}:\n{done.stderr[-2000:]}")
    expect_kept(before, check(run / "run.db"))
    expect_finished(run)
    made.tally["clocks that jumped"] += 1


def two_at_once(made: Bench, count: int, dice: random.Random) -> None:
    """Two `resume` of one run: one works, the other is told so and touches nothing."""
    run = made.home / "two-run"
    process = made.start(*made.begin(str(run)))
    deadline = time.monotonic() + 120
    while len(check(run / "run.db")) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    command = made.command("resume", str(run), "--no-plot")
    both = [subprocess.Popen(command, cwd=made.home, env=made.environment, text=True, stdout=-3, stderr=-1) for _ in range(2)]
    said = [each.communicate(timeout=300)[1] for each in both]
    codes = sorted(each.returncode for each in both)
    told = "".join(text for text, each in zip(said, both, strict=True) if each.returncode == 2)
    if codes != [0, 2] or "in use by a live process" not in told:
        raise Broken(f"two resumes ended with {codes}: {told[-1000:]}")
    expect_finished(run)
    made.tally["pairs of resumes"] += 1


def full_disk(made: Bench, count: int, dice: random.Random) -> None:
    """A tmpfs too small for the run; a resume when there is room again."""
    place = made.home / "small"
    place.mkdir(exist_ok=True)
    with _mounted(place, "tmpfs", "size=400k"):
        done = made.evo(*made.begin(str(place / "run")))
        if done.returncode != 2 or "Traceback" in done.stderr:
            raise Broken(f"a full disk ended with {done.returncode}:\n{done.stderr[-2000:]}")
        before = check(place / "run" / "run.db")
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        finish(made, place / "run")
        expect_kept(before, check(place / "run" / "run.db"))
    made.tally["disks filled"] += 1


def read_only(made: Bench, count: int, dice: random.Random) -> None:
    """A run's folder that cannot be written: said plainly, and nothing is changed."""
    run = made.home / "ro-run"
    process = made.start(*made.begin(str(run)))
    deadline = time.monotonic() + 120
    while len(check(run / "run.db")) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    before = check(run / "run.db")
    with _mounted(run, str(run), "bind"):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(run)], check=True)
        done = made.evo("resume", str(run), "--no-plot")
        if done.returncode != 2 or "Traceback" in done.stderr:
            raise Broken(f"a read-only folder ended with {done.returncode}:\n{done.stderr[-2000:]}")
        made.evo("status", str(run))
    if check(run / "run.db") != before:
        raise Broken("a run in a read-only folder was changed")
    finish(made, run)
    made.tally["read-only folders"] += 1


@contextmanager
def _mounted(place: Path, what: str, options: str) -> Iterator[None]:
    kind = ["-t", "tmpfs", "tmpfs"] if what == "tmpfs" else [what]
    subprocess.run(["mount", "-o", options, *kind, str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def can_mount() -> bool:
    """Whether this process may mount: in a mount namespace of its own, where it is or may play root."""
    with tempfile.TemporaryDirectory() as place:
        if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], capture_output=True, check=False).returncode:
            return False
        subprocess.run(["umount", place], check=True)
    return True


Fault = Callable[[Bench, int, random.Random], None]
FAULTS: dict[str, Fault] = {
    "kills": kills,
    "workers": workers,
    "deleted_cache": deleted_cache,
    "jumping_clock": jumping_clock,
    "two_at_once": two_at_once,
    "full_disk": full_disk,
    "read_only": read_only,
}
NEED_MOUNTS = ("full_disk", "read_only")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Kills runs and takes from them what they need; nothing may be lost.")
    parser.add_argument("--kills", type=int, default=100, help="kills at random moments (100)")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; from the system by default, and printed")
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), help="only these faults")
    chosen = parser.parse_args(arguments)
    seed = random.SystemRandom().randrange(1 << 32) if chosen.seed is None else chosen.seed
    dice = random.Random(seed)
    print(f"seed {seed}", flush=True)
    with bench() as made:
        for name in chosen.only or FAULTS:
            if name in NEED_MOUNTS and not can_mount():
                print(f"{name:<16}skipped: this process may not mount (run it as root, or under `unshare -rm`)", flush=True)
                continue
            began = time.monotonic()
            FAULTS[name](made, chosen.kills if name == "kills" else 4, dice)
            print(f"{name:<16}nothing lost  ({time.monotonic() - began:.0f} s)", flush=True)
        for what, count in sorted(made.tally.items()):
            print(f"    {what:<36}{count:>5}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
