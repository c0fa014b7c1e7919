"""A lineage under `kill -9`, full disks and unwritable folders: whole candidates or none, and errors that say what to do."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from archive.candidate import AddStatus, Candidate, Proposal
from archive.elite import AddResult
from archive.evaluation import Evaluation, Outcome, Samples
from archive.events import Event
from archive.kernel import Kernel
from archive.lineage import Lineage, LineageError

KERNEL = Kernel("cpp", "#define A 0  // evo: [0..999 step 1]\n#define B 0  // evo: [0..999 step 1]\n")
SHAPES = 2


def commit(lineage: Lineage, number: int) -> None:
    kernel = KERNEL.with_values({"A": number % 1000, "B": number // 1000})
    proposal = Proposal(number, "mutate", (number - 1,) if number else ())
    times = np.linspace(1e-3, 2e-3, 20)
    samples = tuple(Samples(f"n={i}", times, times) for i in range(SHAPES))
    found = Evaluation(kernel.id, Outcome.OK, objective=0.5, interval=(0.4, 0.6), samples=samples, profile={"v": number})
    if not any(p.number == number for p, _ in lineage.in_flight()):
        lineage.propose(proposal)
    lineage.draft(number, kernel, {})
    made = Candidate(proposal, kernel, found, (0,), AddStatus.CONTEST)
    lineage.commit(made, Event.offered(number, AddResult(AddStatus.CONTEST, (0,), None, None)))


def in_child(work: Callable[[], None]) -> int:
    """Runs `work` in a forked process, which exits 0 unless it raises."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return child


def check_whole(path: Path) -> int:
    """The database is sound and every candidate in it is complete; returns how many there are."""
    db = sqlite3.connect(path)
    with contextlib.closing(db):
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        candidates = db.execute("SELECT number, kernel, evaluation FROM candidates ORDER BY id").fetchall()
        assert [number for number, _, _ in candidates] == list(range(len(candidates)))
        evaluations = dict(db.execute("SELECT id, candidate FROM evaluations"))
        events = [number for (number,) in db.execute("SELECT candidate FROM archive_events ORDER BY id")]
        shapes = dict(db.execute("SELECT evaluation, count(*) FROM samples WHERE length(pairs) = 320 GROUP BY evaluation"))
        kernels = {kernel for (kernel,) in db.execute("SELECT id FROM kernels")}
        assert {evaluation: number for number, _, evaluation in candidates} == evaluations
        assert events == [number for number, _, _ in candidates]
        assert shapes == dict.fromkeys(evaluations, SHAPES)
        assert {kernel for _, kernel, _ in candidates} <= kernels
        proposals = {number for (number,) in db.execute("SELECT number FROM proposals")}
        assert {number for number, _, _ in candidates} <= proposals and len(proposals) <= len(candidates) + 1
        return len(candidates)


@pytest.mark.parametrize("group_ms", [0.0, 20.0])
def test_killed_at_any_moment_every_committed_candidate_is_whole_and_the_run_goes_on(tmp_path: Path, group_ms: float) -> None:
    path = tmp_path / "run.db"
    with Lineage.create(path) as lineage:
        lineage.start_run("{}", 0, "p", "cpp")
    rng = random.Random(int(group_ms))
    count = 0
    for _ in range(20):
        told, tell = os.pipe()

        def work(tell: int = tell) -> None:
            with Lineage.open(path, group_ms=group_ms) as lineage:
                lineage.start_session()
                number = sum(1 for _ in lineage.connection.execute("SELECT 1 FROM candidates"))
                while True:
                    commit(lineage, number)
                    if group_ms == 0.0:
                        os.write(tell, b".")
                    number += 1

        child = in_child(work)
        os.close(tell)
        time.sleep(0.01 + 0.05 * rng.random())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged = 0
        while chunk := os.read(told, 1 << 16):
            acknowledged += len(chunk)
        os.close(told)
        now = check_whole(path)
        assert now >= count + acknowledged
        count = now
    assert count > 40
    with Lineage.open(path) as lineage:
        commit(lineage, count)
        assert len(list(lineage.candidates())) == count + 1


def fill(path: Path, group_ms: float) -> None:
    """Writes until the disk refuses; the error must be ours, and closing must not raise another."""
    lineage = Lineage.open(path, group_ms=group_ms)
    number = 0
    try:
        while number < 20_000:
            commit(lineage, number)
            number += 1
    except LineageError as error:
        assert error.path == path and ("space" in error.remedy)
        lineage.close()
        return
    raise AssertionError("the disk never filled")


@pytest.mark.parametrize("group_ms", [0.0, 100.0])
def test_a_file_size_limit_ends_in_an_error_with_path_and_remedy_and_a_sound_database(tmp_path: Path, group_ms: float) -> None:
    path = tmp_path / "run.db"
    with Lineage.create(path) as lineage:
        lineage.start_run("{}", 0, "p", "cpp")

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
        fill(path, group_ms)

    assert os.waitpid(in_child(work), 0)[1] == 0
    stored = check_whole(path)
    with Lineage.open(path) as lineage:
        commit(lineage, stored)
    assert check_whole(path) == stored + 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("this user may not mount a tmpfs; the file-size limit covers the same path")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def test_a_full_disk_ends_in_an_error_with_path_and_remedy_and_a_sound_database(small_disk: Path) -> None:
    path = small_disk / "run.db"
    with Lineage.create(path) as lineage:
        lineage.start_run("{}", 0, "p", "cpp")
    fill(path, 0.0)
    (small_disk / "run.db.lock").unlink()  # makes no difference: the lock is not held
    assert check_whole(path) > 10


def test_a_run_cannot_be_made_on_a_full_disk_and_leaves_nothing_behind(small_disk: Path) -> None:
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(4096)):
            pass
    with pytest.raises(LineageError) as caught:
        Lineage.create(small_disk / "run.db")
    assert "space" in caught.value.remedy
    assert sorted(p.name for p in small_disk.iterdir() if "lock" not in p.name) == ["filler"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LineageError, match="permissions"):
        Lineage.create(tmp_path / "run.db")
    tmp_path.chmod(0o700)
