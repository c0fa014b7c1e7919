"""Takes down what the host code of a CUDA file launches, without a device: the side that asks, and what is made of the answers.

The file's library is loaded in the sandbox beside a stand-in for the CUDA runtime (runtime.c) and its `kernel` called on made-up addresses,
on every shape twice, and all of that in two processes whose addresses differ. A word that lies at the same distance from the same buffer
in both is a pointer; what is the same in both is a number; what is neither depends on addresses in a way that no plan can say.
"""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive.evaluation import Diagnostic, Outcome
from fitness.cache import Cache, Entry, content_key
from fitness.gpu.cubin import CubinKernel, read_cubin, undefined
from fitness.gpu.places import WINDOW, Places
from fitness.gpu.plan import PROGRAMMATIC, Unplannable
from fitness.native.build import NativeError, find_compiler
from fitness.targets.base import BuildFailure
from fitness.targets.commands import CommandRunner, Finished
from fitness.targets.elf import ElfError, SharedObject

__all__ = ["LIMITS", "Case", "record", "stand_in"]

KIND = "cuda_recorder"
SOURCES = ("runtime.c", "runtime.h", "recorder.c")
PATIENCE = 10.0
"""Seconds that all calls of a file's host code may take, twice over; an honest one takes microseconds."""
MEMORY, MOST_BYTES = 2 << 30, 32 << 20
SPACING, ALIGNMENT = 1 << 42, 256
"""Bytes between two made-up addresses; what the ABI promises of them."""
MOST_BUFFERS = 19
"""More would reach the addresses that a process itself has."""
LIMITS = {
    80: (64, 32, 166912, 167936), 86: (48, 16, 101376, 102400), 89: (48, 24, 101376, 102400),
    90: (64, 32, 232448, 233472), 100: (64, 32, 232448, 233472), 120: (48, 24, 101376, 102400),
}  # fmt: skip
"""Compute capability → warps and blocks of a multiprocessor, bytes of shared memory of a block and of a multiprocessor (CUDA C++
Programming Guide, *Technical Specifications per Compute Capability*)."""
_MAX_DYNAMIC = 8
_FAILED_QUIETLY = "__assertfail"


@dataclass(frozen=True, slots=True)
class Case:
    """What `kernel` is called on: sizes in ABI order, bytes of every buffer."""

    sizes: tuple[int, ...]
    bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Said:
    """One call as it was written down: bytes of workspace, and its lines as lists of words."""

    workspace: int
    lines: tuple[tuple[str, ...], ...]


def stand_in(cache: Cache, library: str) -> Entry:
    """The recorder and, under the name of the CUDA runtime that a file needs, the stand-in; compiled on first use. Raises `NativeError`."""
    compiler = find_compiler()
    folder = Path(__file__).parent
    texts = {name: (folder / name).read_bytes() for name in SOURCES}
    key = content_key(compiler, library, *texts.values())
    entry = cache.get(KIND, key)
    if entry is not None:
        return entry
    with cache.scratch() as scratch:
        for name, text in texts.items():
            (scratch / name).write_bytes(text)
        (scratch / "map").write_text(f"{library} {{ *; }};\n")
        flags = [compiler, "-O1", "-w"]
        _compiled([*flags, "-shared", "-fPIC", "runtime.c", "-o", library, f"-Wl,-soname,{library},--version-script,map"], scratch)
        _compiled([*flags, "recorder.c", "-o", "recorder", "-L.", f"-l:{library}", "-Wl,-rpath,$ORIGIN", "-ldl"], scratch)
        return cache.put(KIND, key, {name: scratch / name for name in (library, "recorder")})


def _compiled(command: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeError(f"{' '.join(command)} did not run: {error}. Check the compiler, or set CC to another.") from error
    if done.returncode != 0:
        said = done.stderr.strip()[:2000]
        raise NativeError(f"{' '.join(command)} ended with {done.returncode}:\n{said}\nSet CC to a working C compiler.")


def record(
    library: Path, cubin: bytes, cases: Sequence[Case], capability: int, multiprocessors: int, *, run: CommandRunner, cache: Cache
) -> dict[str, Any]:
    """The plan of a built CUDA file (see `fitness.gpu.plan`). multiprocessors: 0 where they are not known.

    Raises `Unplannable` for what has to be run with a device, `BuildFailure` for host code that no device would take either,
    `NativeError` where the stand-in cannot be built, `fitness.cache.CacheError`.
    """
    try:
        kernels, called = read_cubin(cubin), undefined(cubin)
        shared = SharedObject(library)
    except ElfError as error:
        raise Unplannable(f"its machine code is not understood: {error}") from error
    runtime = next((name for name in shared.needed if name.startswith("libcudart.so")), "")
    beyond = [name for name in called if name != _FAILED_QUIETLY]
    if beyond:
        raise Unplannable(f"its kernels call {', '.join(sorted(beyond)[:3])} of the device's system")
    if capability not in LIMITS or max(len(case.bytes) for case in cases) >= MOST_BUFFERS or not runtime:
        raise Unplannable(f"no calls can be made up for compute capability {capability} and {len(cases[0].bytes)} buffers")
    entry = stand_in(cache, runtime)
    unknown = {name for name in shared.imports if name.startswith(("cuda", "__cuda"))} - SharedObject(entry.path(runtime)).exports
    if unknown:
        raise Unplannable(f"it calls {', '.join(sorted(unknown)[:3])}, whose effect cannot be written down")
    device = f"device {capability} {multiprocessors} {' '.join(map(str, LIMITS[capability]))}"
    said, bases = [], []
    with cache.scratch() as scratch:
        for number in range(2):
            bases.append(_Bases(cases))
            (scratch / "request").write_text(_request(device, kernels, cases, bases[-1]))
            argv = [str(entry.path("recorder")), str(scratch / "request"), str(scratch / f"said{number}"), str(library)]
            done = run(argv, read=[entry.folder, library.parent], write=scratch, timeout=PATIENCE, memory=MEMORY, output_limit=1 << 16)
            said.append(_understood(scratch / f"said{number}", done, len(cases), kernels))
    return _planned(kernels, cases, said, bases)


class _Bases:
    """Made-up addresses: of every buffer and of the workspace, the same in all cases of a process, and a stream."""

    def __init__(self, cases: Sequence[Case]) -> None:
        count = max(len(case.bytes) for case in cases) + 1
        self.addresses = [(i + 1) * SPACING + WINDOW + secrets.randbelow(WINDOW // 2) // ALIGNMENT * ALIGNMENT for i in range(count)]
        self.stream = secrets.randbelow(1 << 30) * 16 + (1 << 36)


def _request(device: str, kernels: Mapping[str, CubinKernel], cases: Sequence[Case], bases: _Bases) -> str:
    lines = [f"{device} {bases.stream:x}", f"kernels {len(kernels)}"]
    for kernel in kernels.values():
        facts = (kernel.name, kernel.registers, kernel.threads, kernel.shared, len(kernel.sizes), *kernel.sizes)
        lines.append(" ".join(map(str, facts)))
    lines.append(f"cases {len(cases)}")
    for case in cases:
        own = bases.addresses[: len(case.bytes)]
        words = (len(case.sizes), *case.sizes, len(own), *(f"{address:x}" for address in own), f"{bases.addresses[-1]:x}")
        lines.append(" ".join(map(str, words)))
    return "\n".join(lines) + "\n"


# -- what came back: written by the file's own code, so it is read like any other text of an author ----------------------------------------


def _failure(outcome: Outcome, reason: str, message: str) -> BuildFailure:
    return BuildFailure(outcome, Diagnostic("build", reason, message))


def _understood(path: Path, done: Finished, count: int, kernels: Mapping[str, CubinKernel]) -> list[_Said]:
    """The calls that were written down, `count` and `count` once more."""
    if done.ended == "timeout":
        text = f"The host code of `kernel` did not end within {PATIENCE:g} s. It may launch kernels only; look for an endless loop."
        raise _failure(Outcome.TIMEOUT, "launch_timeout", text)
    lines = _content(path).decode(errors="replace").splitlines()
    if lines == ["missing kernel", "end"]:
        text = 'The file defines no `extern "C" void kernel(inputs…, outputs…, workspace, sizes…, stream)`.'
        raise _failure(Outcome.BUILD_ERROR, "no_kernel", text)
    if done.status != 0 or not lines or lines[-1] != "end":
        how = f"signal {-done.status}" if done.status < 0 else f"exit status {done.status}"
        text = (
            f"The host code of `kernel` ended its process ({how}) when it was called: {done.output.strip()[-600:] or 'it said nothing'}. "
            "Buffers are the device's: host code may hand their addresses to kernels, and neither read nor write them."
        )
        raise _failure(Outcome.CRASH, "launch_crashed", text)
    calls: list[_Said] = []
    found: list[tuple[str, ...]] = []
    workspace = 0
    try:
        for words in (line.split(" ") for line in lines[:-1]):
            if words[0] == "case":
                found, workspace = [], 0
            elif words[0] == "workspace":
                workspace = int(words[1])
            elif words[0] == "done":
                calls.append(_Said(workspace, tuple(found)))
            else:
                _checked(words, kernels)
                found.append(tuple(words))
    except (ValueError, IndexError, KeyError) as error:
        raise _failure(Outcome.CRASH, "launch_crashed", "What the host code of `kernel` launched was overwritten by it.") from error
    if len(calls) != 2 * count:
        raise _failure(Outcome.CRASH, "launch_crashed", f"The host code of `kernel` came back from {len(calls)} of {2 * count} calls.")
    return calls


def _content(path: Path) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(fd, "rb") as file:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
        return file.read(MOST_BYTES) if regular else b""


def _checked(words: list[str], kernels: Mapping[str, CubinKernel]) -> None:
    """Raises ValueError, IndexError, KeyError for a line that runtime.c does not write."""
    if words[0] == "launch":
        values = _parameters(words)
        if tuple(len(value) for value in values) != kernels[words[1]].sizes or any(int(word) < 0 for word in words[2:9]):
            raise ValueError(words[1])
    elif words[0] == "memset":
        _ = int(words[1], 16), int(words[2]), int(words[3])
    elif words[0] == "copy":
        _ = int(words[1], 16), int(words[2], 16), int(words[3])
    elif words[0] == "attribute":
        _ = kernels[words[1]], int(words[2]), int(words[3])
    elif words[0] not in ("unknown", "invalid"):
        raise ValueError(words[0])


def _attributes(words: Sequence[str]) -> list[list[Any]]:
    """[[attribute of a launch, [its words]], …]"""
    count = int(words[9])
    return [[int(words[at]), [int(word) for word in words[at + 1 : at + 4]]] for at in range(10, 10 + 4 * count, 4)]


def _parameters(words: Sequence[str]) -> list[bytes]:
    at = 10 + 4 * int(words[9])
    values = [bytes.fromhex(word) for word in words[at + 1 :]]
    if len(values) != int(words[at]):
        raise ValueError("parameters")
    return values


# -- and what a plan makes of it -----------------------------------------------------------------------------------------------------------


def _planned(
    kernels: Mapping[str, CubinKernel], cases: Sequence[Case], said: Sequence[Sequence[_Said]], bases: Sequence[_Bases]
) -> dict[str, Any]:
    settings = _settings([line for calls in said for call in calls for line in call.lines])
    entries: list[dict[str, Any]] = []
    found = []
    for number, case in enumerate(cases):
        first, other = (_settled(calls[number], calls[number + len(cases)]) for calls in said)
        if first.workspace != other.workspace or [_shape(line) for line in first.lines] != [_shape(line) for line in other.lines]:
            raise Unplannable("what it launches depends on the addresses of its buffers")
        places = Places(*(base.addresses for base in bases))
        launches: list[dict[str, Any]] = []
        for line, twin in zip(first.lines, other.lines, strict=True):
            launches.append(_launch(line, twin, places, entries, settings, first=not launches))
        if not any("kernel" in each for each in launches):
            raise _failure(Outcome.BUILD_ERROR, "no_launch", f"`kernel` launched no kernel of this file on sizes {list(case.sizes)}.")
        found.append({"sizes": list(case.sizes), "bytes": list(case.bytes), "workspace": first.workspace, "launches": launches})
    return {"kernels": entries, "cases": found}


def _settings(lines: Sequence[tuple[str, ...]]) -> dict[str, dict[int, int]]:
    """Attributes of kernels by name: the largest dynamic shared memory that was asked for, else the only value."""
    found: dict[str, dict[int, int]] = {}
    for line in lines:
        if line[0] == "attribute":
            name, attribute, value = line[1], int(line[2]), int(line[3])
            before = found.setdefault(name, {}).setdefault(attribute, value)
            if attribute == _MAX_DYNAMIC:
                found[name][attribute] = max(before, value)
            elif before != value:
                raise Unplannable(f"it changes attribute {attribute} of {name} between launches")
    return found


def _settled(once: _Said, again: _Said) -> _Said:
    """The launches of a call, which has to be the same when it is made again."""
    for call in (once, again):
        for line in call.lines:
            if line[0] == "invalid":
                raise _failure(Outcome.BUILD_ERROR, "invalid_launch", f"A launch that the device would refuse: {' '.join(line[1:])}.")
            if line[0] == "unknown":
                raise Unplannable(" ".join(line[1:]))
    one, two = (_Said(call.workspace, tuple(line for line in call.lines if line[0] != "attribute")) for call in (once, again))
    if one != two:
        if one.workspace == two.workspace and [_words(line) for line in one.lines] == [_words(line) for line in two.lines]:
            raise Unplannable("what lies between the fields of its parameters changes from call to call")
        text = "`kernel` launched something else when it was called again: it may depend on its arguments only."
        raise _failure(Outcome.BUILD_ERROR, "launches_vary", text)
    return one


def _shape(line: tuple[str, ...]) -> tuple[str, ...]:
    """A line without what an address may be in."""
    if line[0] == "launch":
        return line[: 10 + 4 * int(line[9])]
    return (line[0], *line[2:]) if line[0] == "memset" else (line[0], *line[3:])


def _words(line: tuple[str, ...]) -> tuple[Any, ...]:
    """A line without parameters that may have gaps between their fields."""
    return (_shape(line), *(value for value in _parameters(line) if len(value) <= 8)) if line[0] == "launch" else line


def _launch(
    line: tuple[str, ...], twin: tuple[str, ...], places: Places, entries: list[dict[str, Any]], settings: Mapping[str, Mapping[int, int]],
    *, first: bool,
) -> dict[str, Any]:  # fmt: skip
    """One entry of a case's `launches`; a kernel that is launched in a new way is added to `entries`."""
    if line[0] == "memset":
        return {"memset": places.address(line[1], twin[1]), "byte": int(line[2]), "bytes": int(line[3])}
    if line[0] == "copy":
        return {"copy": places.address(line[1], twin[1]), "from": places.address(line[2], twin[2]), "bytes": int(line[3])}
    grid, block = ([int(word) for word in line[at : at + 3]] for at in (2, 5))
    # the launch before a call's first is another call's, or the clock's: it may not run into that
    attributes = [each for each in _attributes(line) if not (first and each[0] == PROGRAMMATIC)]
    entry = {
        "name": line[1], "image": 0, "block": block, "shared": int(line[8]), "attributes": attributes,
        "settings": [list(each) for each in sorted(settings.get(line[1], {}).items())], "scratch": 0,
    }  # fmt: skip
    if entry not in entries:
        entries.append(entry)
    arguments = [places.parameter(one, two) for one, two in zip(_parameters(line), _parameters(twin), strict=True)]
    return {"kernel": entries.index(entry), "grid": grid, "arguments": arguments}
