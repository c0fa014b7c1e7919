"""Goes through a checkout of foreign problems: each file in a child of a sandboxed server, with limits.

The server has torch imported and runs nothing foreign itself; its children do, one a file, and hand back a verdict. A file that wanted to
could lie about itself, to whoever reads the list; it reaches nothing else. What a search trusts is found out again when it opens the file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitness.adapters.examine import Verdict
from fitness.adapters.subject import identifier
from fitness.problem import ProblemError

__all__ = ["LIMITS", "Limits", "found_in", "survey"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one file's child. seconds: wall time. memory: bytes of address space."""

    seconds: float = 240.0
    memory: int = 10 << 30


LIMITS = Limits()
OUTPUT = 1 << 20


def found_in(scheme: str, path: Path) -> list[Path]:
    """The files or tasks under a path, in order; that path itself where it is one. Raises `ProblemError`."""
    if not path.exists():
        raise ProblemError(path, scheme, "no such file or folder", "a file or a checkout", "Check the path.")
    if scheme == "gpumode":
        tasks = [path] if path.name == "task.yml" else sorted(path.rglob("task.yml"))
        if not tasks:
            raise ProblemError(path, scheme, "no task.yml", "a task's folder, or a checkout of such", "Check the path.")
        return [task.parent for task in tasks]
    files = [path] if path.is_file() else sorted(path.rglob("*.py"), key=_natural)
    named = [file for file in files if _is_kernelbench(file)] if path.is_dir() else files
    if not named:
        raise ProblemError(path, scheme, "no Python file that defines Model and get_inputs", "a checkout of KernelBench", "Check the path.")
    return named


def _is_kernelbench(file: Path) -> bool:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True  # it gets a verdict that says so
    return "class Model" in text and "def get_inputs" in text and "class ModelNew" not in text


def _natural(path: Path) -> list[Any]:
    import re

    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", str(path))]


def survey(scheme: str, files: Sequence[Path], limits: Limits = LIMITS) -> Iterator[tuple[Path, Verdict]]:
    """A verdict for every file, in order. Raises `ProblemError` where no server can be had, `fitness.sandbox.SandboxError`."""
    pending = list(files)
    while pending:
        with _Server(limits) as server:
            while pending:
                file = pending.pop(0)
                verdict = server.ask(scheme, file)
                yield file, verdict
                if verdict.kind == "crash":
                    break  # with the server, perhaps: a fresh one for what is left


class _Server:
    """The process in the sandbox (`fitness.adapters.surveyor`), by its pipes."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def __enter__(self) -> _Server:
        from fitness.gpu.colony import packages_folder
        from fitness.sandbox import choose
        from fitness.sandbox.bundle import interpreter
        from fitness.sandbox.view import environment

        ours = Path(__file__).resolve().parents[2]
        packages = packages_folder()
        code = (
            f"import sys; sys.path[:0] = [{str(ours)!r}]; sys.path.append({packages!r}); from fitness.adapters.surveyor import main; main()"
        )
        argv = [interpreter(), "-I", "-S", "-E", "-B", "-c", code]
        visible = [str(ours / "fitness"), str(ours / "archive"), packages]
        self._process = subprocess.Popen(
            choose("auto").command(argv, read=visible), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment(1), cwd="/", start_new_session=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        import contextlib
        import signal

        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        self._process.wait()

    def ask(self, scheme: str, file: Path) -> Verdict:
        name = identifier(file)
        try:
            texts = _texts(scheme, file)
        except (OSError, UnicodeDecodeError, ProblemError) as error:
            return Verdict(name, False, f"it cannot be read: {error}", "unreadable")
        request = {"scheme": scheme, "path": str(file), "texts": texts, "seconds": self._limits.seconds, "memory": self._limits.memory}
        assert self._process.stdin is not None and self._process.stdout is not None and self._process.stderr is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline(OUTPUT))
            known: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in answer.items()}
            return Verdict(**known)
        except (OSError, ValueError, TypeError):
            if self._process.poll() is None:
                return Verdict(name, False, "its verdict makes no sense", "crash")
            said = self._process.stderr.read().decode(errors="replace").strip()[-600:]
            found, remedy = f"the server in the sandbox ended: {said or 'it said nothing'}", f"evo doctor; Python is {sys.executable}."
            raise ProblemError(file, scheme, found, "a verdict", remedy) from None


def _texts(scheme: str, file: Path) -> dict[str, str]:
    if scheme == "kernelbench":
        return {file.name: file.read_text(encoding="utf-8")}
    from fitness.adapters.gpumode import texts_of

    return texts_of(file)
