"""Control groups: where they can be made, by trees of files that look like the real ones; and, where this host lets us, real ones."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import hostile_arena as arena
import pytest

from archive.evaluation import Outcome
from fitness.custody import Custody
from fitness.environment import environment_of
from fitness.guard import Guard
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.referee import Referee
from fitness.sandbox import cgroup, choose
from fitness.sandbox.base import memory_limits
from fitness.sandbox.completed import Limits, run_limited
from fitness.sandbox.view import environment
from fitness.targets import open_target

real = pytest.mark.skipif(cgroup.place() is None, reason=f"no control groups here: {cgroup.why_not()}")
ordinary = pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")


def _tree(top: Path, groups: dict[str, str]) -> None:
    """A folder that looks like a mounted cgroup v2: {group: what it passes on to its children}."""
    for group, passed_on in groups.items():
        folder = top / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.controllers").write_text("cpu memory pids\n")
        (folder / "cgroup.subtree_control").write_text(passed_on)
        (folder / "cgroup.procs").write_text("")


def _v2(top: Path, root: str = "/") -> str:
    return f"23 1 8:1 / / rw - ext4 /dev/sda rw\n41 31 0:38 {root} {top} rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_a_users_session_passes_memory_on_beside_the_scope_it_runs_in(tmp_path: Path) -> None:
    _tree(tmp_path, {".": "cpu memory pids", "user": "memory pids", "user/app.slice": "memory pids", "user/app.slice/run-1.scope": ""})
    found, why = cgroup.find(_v2(tmp_path), "0::/user/app.slice/run-1.scope\n")
    assert found == cgroup.Place(2, tmp_path / "user/app.slice", tmp_path / "user/app.slice") and why == ""


def test_a_group_that_passes_on_memory_alone_counts_no_processes(tmp_path: Path) -> None:
    _tree(tmp_path, {".": "memory"})
    assert cgroup.find(_v2(tmp_path), "0::/\n")[0] == cgroup.Place(2, tmp_path, None)


def test_a_container_that_sees_its_own_group_as_the_root_is_understood(tmp_path: Path) -> None:
    _tree(tmp_path, {".": "memory pids", "leaf": ""})
    found, _ = cgroup.find(_v2(tmp_path, "/docker/abc"), "0::/docker/abc/leaf\n")
    assert found is not None and found.memory == tmp_path


def test_nothing_is_switched_on_where_the_memory_controller_is_not_passed_on(tmp_path: Path) -> None:
    _tree(tmp_path, {".": "", "here": "cpu"})
    found, why = cgroup.find(_v2(tmp_path), "0::/here\n")
    assert found is None and "passes the memory controller on" in why
    assert (tmp_path / "cgroup.subtree_control").read_text() == ""
    assert (tmp_path / "here/cgroup.subtree_control").read_text() == "cpu"


@ordinary
def test_a_group_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    _tree(tmp_path, {".": "memory pids", "here": ""})
    tmp_path.chmod(0o555)
    found, why = cgroup.find(_v2(tmp_path), "0::/here\n")
    tmp_path.chmod(0o755)
    assert found is None and "no writable group" in why


def test_a_group_out_of_sight_is_no_place(tmp_path: Path) -> None:
    _tree(tmp_path, {".": "memory pids"})
    assert cgroup.find(_v2(tmp_path, "/docker/abc"), "0::/system/other\n")[0] is None


def test_version_one_serves_where_it_holds_the_memory_controller(tmp_path: Path) -> None:
    unified, memory, pids = (tmp_path / name for name in ("unified", "memory", "pids"))
    _tree(unified, {".": ""})
    (unified / "cgroup.controllers").write_text("hugetlb\n")
    for folder in (memory / "job/7", pids):
        folder.mkdir(parents=True)
        (folder / "cgroup.procs").write_text("")
    mounts = _v2(unified)
    for name in ("memory", "pids"):
        mounts += f"35 31 0:32 / {tmp_path / name} rw,relatime - cgroup cgroup rw,{name}\n"
    found, _ = cgroup.find(mounts, "8:pids:/\n4:memory:/job/7\n0::/\n")
    assert found == cgroup.Place(1, memory / "job/7", pids)
    (pids / "cgroup.procs").unlink()
    assert cgroup.find(mounts, "8:pids:/\n4:memory:/job/7\n0::/\n")[0] == cgroup.Place(1, memory / "job/7", None)


def test_a_host_without_any_says_so() -> None:
    found, why = cgroup.find("23 1 8:1 / / rw - ext4 /dev/sda rw\n", "")
    assert found is None and "cgroup v2 is not mounted" in why and "v1" in why


def test_a_group_of_version_two_gets_hard_limits_and_no_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a plain folder: which files are written, with what."""
    written: dict[str, str] = {}
    monkeypatch.setattr(Path, "write_text", lambda self, text: written.setdefault(self.name, text))
    (tmp_path / "memory.swap.max").touch()
    monkeypatch.setattr(Path, "exists", lambda self: True)
    group = cgroup.Group(cgroup.Place(2, tmp_path, tmp_path), memory=1 << 30, processes=77)
    assert written == {"memory.max": str(1 << 30), "memory.swap.max": "0", "pids.max": "77"}
    assert [path.name for path in group.entrances] == ["cgroup.procs"]
    monkeypatch.undo()
    group.close()
    assert not list(tmp_path.glob("evo-*"))


@real
def test_a_family_that_uses_up_its_memory_together_is_killed_though_no_process_breaks_its_own_limit() -> None:
    script = "for i in 1 2 3 4; do (x=$(head -c 40000000 /dev/zero | tr '\\0' a); sleep 5) & done; wait"
    argv = ["/bin/sh", "-c", script]
    done = run_limited(argv, Limits(timeout=10, memory=96 << 20, processes=64), env=environment(1))
    assert done.starved
    assert not _left_behind()


@real
def test_a_family_of_too_many_processes_stops_growing() -> None:
    place = cgroup.place()
    if place is None or place.pids is None:
        pytest.skip("processes are not counted here")
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 1 & done; echo made all"
    done = run_limited(["/bin/sh", "-c", script], Limits(timeout=5, processes=12), env=environment(1))
    assert b"made all" not in done.output and not done.timed_out
    assert not _left_behind()


@real
def test_what_fits_runs_as_without_a_group() -> None:
    done = run_limited(["/bin/sh", "-c", "echo out; exit 3"], Limits(timeout=10), env=environment(1))
    assert (done.returncode, done.output, done.starved) == (3, b"out\n", False)


@real
def test_every_runner_lives_in_the_group_of_its_zygote_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    problem = arena.toy_problem(tmp_path)
    with Referee(pool=1, memory=arena.MEMORY) as referee:
        runner = referee.load(arena.Program("native", arena.build(arena.KERNELS / "honest_plain.cpp")), problem)
        assert f"evo-{os.getpid()}-" in Path(f"/proc/{runner.pid}/cgroup").read_text()
        runner.close()
    assert not _left_behind()


@real
def test_the_kernel_ends_whom_the_watchdog_misses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the address space is limited nor does anybody look: what is left is the control group. Its neighbours live on."""
    monkeypatch.setattr(Custody, "_bound_address_space", lambda self: None)
    monkeypatch.setattr(Guard, "_watch", lambda self: None)
    monkeypatch.setattr("fitness.nursery.BESIDE", 128 << 20)
    problem: Problem = arena.toy_problem(tmp_path)
    source = tmp_path / "eats.cpp"
    source.write_text(
        "#include <cstdint>\n#include <cstdlib>\n#include <cstring>\n"
        'extern "C" void kernel(const float* x, float* y, void* w, int64_t n) {\n'
        "    for (int i = 0; i < 200; i++) memset(malloc(16 << 20), i + 1, 16 << 20);\n"
        "    for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;\n}\n"
    )
    honest = arena.build(arena.KERNELS / "honest_plain.cpp")
    with Referee(pool=1, memory=128 << 20) as referee:
        waiting = referee.load(arena.Program("native", honest), problem)
        verdict = arena.trial(referee, problem, arena.build(source))
        assert (verdict.outcome, verdict.reason) == (Outcome.OUT_OF_MEMORY, "memory_limit"), str(verdict)
        assert arena.calls(waiting, problem, 1000).outcome is Outcome.OK
        assert arena.trial(referee, problem, honest).outcome is Outcome.OK


@real
def test_what_a_killed_search_left_is_swept_up() -> None:
    place = cgroup.place()
    assert place is not None
    dead = subprocess.Popen(["/bin/true"])
    dead.wait()
    for folder in place.folders:
        (folder / f"evo-{dead.pid}-0").mkdir()
    cgroup._sweep(place)
    assert not any((folder / f"evo-{dead.pid}-0").exists() for folder in place.folders)


def test_doctor_and_lineage_say_what_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    from evo import doctor

    problem = Problem.load(Path(__file__).resolve().parent.parent / "data" / "problems" / "tiny_norm")
    settings = EvaluationSettings()
    now = memory_limits()
    assert ("control groups (v" in now) is (cgroup.place() is not None)
    assert choose().describe()["memory"] == now
    assert environment_of(problem, open_target("cpp", settings), settings).facts["memory_limits"] == now
    monkeypatch.setattr(cgroup, "_found", lambda: (None, "nobody mounted one"))
    check = doctor.memory_check()
    assert check.state == "note" and "no control group (nobody mounted one)" in check.value and "systemd-run" in check.remedy
    monkeypatch.setattr(cgroup, "_found", lambda: (cgroup.Place(2, Path("/a"), None), ""))
    check = doctor.memory_check()
    assert check.state == "ok" and "control groups (v2)" in check.value and "processes are not counted" in check.value and not check.remedy


def _left_behind() -> list[Path]:
    place = cgroup.place()
    return [] if place is None else [path for folder in place.folders for path in folder.glob(f"evo-{os.getpid()}-*")]
