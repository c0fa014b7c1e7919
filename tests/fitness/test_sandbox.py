"""Every sandbox level that works here confines compilers as it says, and the choice among levels is honest."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fitness.sandbox import LEVELS, Sandbox, SandboxError, available, choose

REPOSITORY = Path(__file__).resolve().parent.parent.parent
CONFINES_FILES = [name for name, level in LEVELS.items() if "files" in level.isolates]


def _working(level: str) -> Sandbox:
    why = available()[level]
    if why is not None:
        pytest.skip(f"{level} does not work here: {why}")
    return LEVELS[level]


@pytest.fixture(params=list(LEVELS))
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return _working(request.param)


@pytest.fixture(params=CONFINES_FILES)
def confining(request: pytest.FixtureRequest) -> Sandbox:
    return _working(request.param)


def test_a_compiler_reads_and_writes_its_scratch_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "k.cpp").write_text('#include <cmath>\nextern "C" double f(double x) { return std::exp(x); }\n')
    done = sandbox.run(["g++", "-O2", "-shared", "-fPIC", "-o", "k.so", "k.cpp"], write=tmp_path)
    assert done.returncode == 0, done.text
    assert (tmp_path / "k.so").stat().st_size > 1000


def test_a_toolchain_of_its_own_installation_is_seen_through_its_links_and_its_neighbours_are_not(
    confining: Sandbox, tmp_path: Path
) -> None:
    installation = tmp_path / "toolchains" / "gcc-99"
    for folder in (installation / "bin", installation / "lib", tmp_path / "links", tmp_path / "scratch"):
        folder.mkdir(parents=True)
    (installation / "lib" / "word").write_text("from its own library")
    (tmp_path / "toolchains" / "private").write_text("not for everybody")
    compiler = installation / "bin" / "g++"
    compiler.write_text(f'#!/bin/sh\ncat "{installation}/lib/word" "{tmp_path}/toolchains/private"\n')
    compiler.chmod(0o755)
    (tmp_path / "links" / "g++-99").symlink_to(compiler)
    done = confining.run([str(tmp_path / "links" / "g++-99")], write=tmp_path / "scratch")
    assert "from its own library" in done.text and "not for everybody" not in done.text


@pytest.mark.parametrize("directive", ['#include "{secret}"', '__asm__(".incbin \\"{secret}\\"");', "#embed <{secret}>"])
def test_source_cannot_take_in_a_file_outside_its_view(confining: Sandbox, tmp_path: Path, directive: str) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("int the_secret_answer;\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "k.cpp").write_text(directive.format(secret=secret) + "\n")
    done = confining.run(["g++", "-c", "-o", "k.o", "k.cpp"], write=scratch)
    made = scratch / "k.o"
    assert done.returncode != 0 or b"the_secret_answer" not in made.read_bytes()
    assert "the_secret_answer" not in done.text


def test_home_project_and_neighbours_are_out_of_sight(confining: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "neighbour").mkdir()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for place in (REPOSITORY / "setup.cfg", tmp_path / "neighbour", Path("/etc/passwd"), Path("/root/.bashrc")):
        done = confining.run(["/bin/sh", "-c", f"ls {place} && cat {place}"], write=scratch)
        assert done.returncode != 0, f"{place}: {done.text}"


def test_nothing_but_the_scratch_folder_can_be_written(confining: Sandbox, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    script = f"echo x > /usr/evo-probe; echo x > {tmp_path}/evo-probe; echo x > mine; ls"
    done = confining.run(["/bin/sh", "-c", script], write=scratch)
    assert (scratch / "mine").read_text() == "x\n", done.text
    assert not Path("/usr/evo-probe").exists() and not (tmp_path / "evo-probe").exists()


def test_not_even_this_machine_can_be_reached_over_the_network(sandbox: Sandbox) -> None:
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("needs a system Python")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        script = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 2); print('connected')"
        done = sandbox.run([python, "-c", script])
        with pytest.raises(TimeoutError):
            server.accept()
    assert "connected" not in done.text and "Error" in done.text


def test_the_environment_is_scrubbed(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "swordfish")
    assert "swordfish" not in sandbox.run(["/usr/bin/env"]).text


def test_no_capability_is_left(sandbox: Sandbox) -> None:
    done = sandbox.run(["/bin/sh", "-c", "while read a b; do case $a in Cap*|NoNewPrivs*) echo $a $b;; esac; done < /proc/self/status"])
    if done.returncode != 0 or not done.text.strip():
        pytest.skip("no /proc in there")
    facts = dict(line.split() for line in done.text.splitlines())
    assert int(facts["CapEff:"], 16) == 0 and int(facts["CapPrm:"], 16) == 0
    assert facts["NoNewPrivs:"] == "1"


def test_a_command_that_hangs_is_killed_with_its_children(sandbox: Sandbox) -> None:
    done = sandbox.run(["/bin/sh", "-c", "sleep 77.25 & sleep 77.25"], timeout=0.7)
    assert done.timed_out and done.seconds < 5
    deadline = time.monotonic() + 2
    while _running("77.25") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _running("77.25")


def test_a_command_that_floods_is_stopped_at_the_limit(sandbox: Sandbox) -> None:
    flood = "while :; do echo 0123456789012345678901234567890123456789; done"
    done = sandbox.run(["/bin/sh", "-c", flood], output_limit=10_000, timeout=20)
    assert done.flooded and len(done.output) == 10_000


def test_a_command_that_eats_memory_fails_by_itself(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "k.cpp").write_text("template <int N> struct A : A<N - 1>, A<N - 2> {};\n" + "char big[1 << 30] = {1};\n" * 1)
    done = sandbox.run(["g++", "-c", "k.cpp"], write=tmp_path, memory=256 << 20, timeout=30)
    assert done.returncode != 0


def test_status_and_output_come_back(sandbox: Sandbox) -> None:
    done = sandbox.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.returncode, done.timed_out, done.flooded) == (3, False, False)
    assert set(done.text.split()) == {"out", "err"}


def test_the_strongest_level_that_works_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVO_SANDBOX", raising=False)
    best = next(level for level, why in available().items() if why is None)
    assert choose("auto").level == best
    assert choose(f"required:{best}").level == best


def test_a_level_can_be_forced_but_not_below_what_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVO_SANDBOX", "rlimits")
    assert choose().level == "rlimits"
    with pytest.raises(SandboxError, match="weaker than the required landlock"):
        choose("required:landlock")


def test_an_unknown_requirement_names_the_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SandboxError, match="bubblewrap, namespaces, landlock, rlimits"):
        choose("required:jail")
    monkeypatch.setenv("EVO_SANDBOX", "jail")
    with pytest.raises(SandboxError, match="EVO_SANDBOX: found 'jail'"):
        choose()


def test_weaker_levels_say_what_would_strengthen_them() -> None:
    assert LEVELS["bubblewrap"].strengthen() == ()
    assert all(LEVELS[level].strengthen() for level in ("namespaces", "landlock", "rlimits"))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv to become somebody else")
@pytest.mark.parametrize("level", ["landlock", "rlimits", "bubblewrap", "namespaces"])
def test_an_ordinary_user_is_confined_too(level: str, tmp_path: Path) -> None:
    python = _python_for_everybody()
    script = f"""
import sys
sys.path[:0] = {[str(REPOSITORY), *_numpy_folder()]!r}
from fitness.sandbox import LEVELS, available
why = available()[{level!r}]
print("why", why)
if why is None:
    done = LEVELS[{level!r}].run(["/bin/sh", "-c", "cat {REPOSITORY}/setup.cfg && echo seen; id -u"])
    print(done.text)
"""
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run([*user, python, "-c", script], capture_output=True, text=True, cwd="/", timeout=60, check=False)
    if "why None" not in done.stdout:
        pytest.skip(f"{level} does not work for an ordinary user here: {done.stdout}{done.stderr[-300:]}")
    assert "65534" in done.stdout
    assert ("seen" in done.stdout) == ("files" not in LEVELS[level].isolates), done.stdout


def _python_for_everybody() -> str:
    """An interpreter of our version that other users may execute."""
    for candidate in (f"/usr/bin/python3.{sys.version_info.minor}", f"/usr/local/bin/python3.{sys.version_info.minor}", sys.executable):
        runs = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", candidate, "-c", ""]
        if Path(candidate).exists() and subprocess.run(runs, capture_output=True, cwd="/", check=False).returncode == 0:
            return candidate
    pytest.skip("no Python that other users may execute")


def _numpy_folder() -> list[str]:
    import numpy

    return [str(Path(numpy.__file__).parent.parent)]


def _running(mark: str) -> bool:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if command[:2] == [b"sleep", mark.encode()]:
                return True
    return False


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.3])
def test_a_compiler_and_its_children_die_with_the_process_that_asked_for_it(sandbox: Sandbox, pause: float) -> None:
    """After `kill -9` of the search nothing goes on compiling, whether the kill came while it started or when it was well under way."""
    mark = f"77.{os.getpid()}{time.monotonic_ns() % 10**9}"
    program = (
        f"from fitness.sandbox import LEVELS\nprint('ready', flush=True)\n"
        f"LEVELS[{sandbox.level!r}].run(['/bin/sh', '-c', '/bin/sleep {mark} & /bin/sleep {mark}; wait'], timeout=100)\n"
    )
    asking = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert asking.stdout is not None and asking.stdout.readline() == b"ready\n"
    if pause > 0.1:
        _until(lambda: _mentioning(f"/bin/sleep\0{mark}\0", whole=True) == 2, "it never began")
    time.sleep(pause)
    asking.kill()
    asking.communicate()
    _until(lambda: _mentioning(mark) == 0, "it went on without its parent")


def _mentioning(mark: str, *, whole: bool = False) -> int:
    """How many processes have the mark in their command line (the shells and sandboxes around a command, too), or as the whole of it."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = entry.read_bytes()
            found += line == mark.encode() if whole else mark.encode() in line
    return found


def _until(holds: Callable[[], bool], otherwise: str, patience: float = 20.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
