"""Compiles the native library into the cache, once per content."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from fitness.cache import default_root

__all__ = ["SOURCES", "NativeError", "build", "cpu_identity", "find_compiler"]

SOURCES = ("stream.c", "compare.c")
# No -ffast-math: it would let a NaN pass a comparison, and a library linked with it sets flush-to-zero for the whole process.
FLAGS = ("-std=gnu11", "-O3", "-shared", "-fPIC", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
TUNING = ("-march=native",)
COMPILERS = ("cc", "gcc", "clang", "g++", "c++", "clang++")
SECONDS = 120.0
"""A build takes about half a second; one that takes this long has hung."""


class NativeError(RuntimeError):
    """The native library cannot be had: no compiler, a failed build, an unwritable cache. The message says what to do."""


def find_compiler(candidates: Sequence[str] = COMPILERS) -> str:
    """Real path of the system's C compiler: `$CC` where set, else the first of `candidates` on the path. Raises NativeError."""
    named = os.environ.get("CC")
    for name in (named,) if named else tuple(candidates):
        found = shutil.which(name)
        if found:
            return os.path.realpath(found)
    wanted = f"$CC={named}" if named else ", ".join(candidates)
    raise NativeError(
        f"No C compiler: looked for {wanted} on PATH={os.environ.get('PATH', '')}. The referee compiles its comparison passes once. "
        "Install one (Debian, Ubuntu: `apt-get install g++`) or set CC to its path."
    )


@lru_cache(maxsize=1)
def cpu_identity() -> str:
    """What `-march=native` depends on: the CPU's model and feature flags."""
    wanted = ("model name", "flags", "cpu family", "model", "stepping", "Features", "CPU part")
    facts: dict[str, str] = {"machine": platform.machine()}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in wanted:
                facts.setdefault(key.strip(), value.strip())
    except OSError:
        facts["processor"] = platform.processor()
    return "\n".join(f"{key}={value}" for key, value in sorted(facts.items()))


def _key(compiler: str, sources: Sequence[Path]) -> str:
    status = os.stat(compiler)
    digest = hashlib.sha256()
    for part in (compiler, f"{status.st_size}:{status.st_mtime_ns}", " ".join((*FLAGS, *TUNING)), cpu_identity()):
        digest.update(part.encode() + b"\0")
    for source in sources:
        digest.update(source.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def build(cache: Path | None = None) -> Path:
    """Path of the shared library, compiled now unless this content was compiled before. Raises NativeError."""
    compiler = find_compiler()
    sources = [Path(__file__).with_name(name) for name in SOURCES]
    folder = (default_root() if cache is None else cache) / "native"
    target = folder / f"{_key(compiler, sources)}.so"
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=target.stem, suffix=".partial", dir=folder)
        os.close(handle)
    except OSError as error:
        raise NativeError(
            f"The cache {folder} cannot be written ({error}). Make it writable, or set XDG_CACHE_HOME or `evaluation.cache`."
        ) from error
    try:
        _compile(compiler, sources, name)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def _compile(compiler: str, sources: Sequence[Path], output: str) -> None:
    message = ""
    # a compiler that does not know this CPU refuses -march=native; portable code is slower but right
    for tuning in (TUNING, ()):
        command = [compiler, "-x", "c", *FLAGS, *tuning, "-o", output, *map(str, sources), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NativeError(f"{' '.join(command)} did not run: {error}. Check the compiler, or set CC to another.") from error
        if done.returncode == 0:
            return
        message = f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr.strip()[:4000]}"
    raise NativeError(f"The native library does not build. {message}\nSet CC to a working C compiler (gcc >= 9 or clang >= 10).")
