"""What this machine offers a search, what is missing, and how to get it.

Looks, and changes nothing; only `measure=True` runs something (the roofline kernels, some seconds on one core). Optional
Python packages are looked up, not imported. Of model keys only the names of the variables are ever read out.
"""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Check", "Report", "examine"]

State = Literal["ok", "note", "missing"]

MODEL_KEYS = (
    "ANTHROPIC_API_KEY", "AZURE_API_KEY", "COHERE_API_KEY", "DEEPSEEK_API_KEY", "GEMINI_API_KEY", "GROQ_API_KEY",
    "MISTRAL_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "TOGETHERAI_API_KEY", "XAI_API_KEY",
)  # fmt: skip
"""Environment variables that litellm reads."""

OPTIONAL_PACKAGES = {
    "torch": "pip install torch   (a strong baseline in certifications)",
    "triton": "pip install triton   (kernels for a GPU)",
    "litellm": "pip install 'litellm>=1.83,<1.91'   (operators that ask a model)",
}

OPTIONAL_PROGRAMS = {
    "bwrap": "apt install bubblewrap   (a stronger sandbox)",
    "clang++": "apt install clang   (a second compiler)",
    "sqlite3": "apt install sqlite3   (look into a run's database)",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    section: str
    name: str
    state: State
    """`missing`: a search cannot run without it. `note`: works, could be better. `ok`: as it should be."""
    value: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in reading order."""

    checks: tuple[Check, ...]

    @property
    def able(self) -> bool:
        """Whether nothing that a search needs is missing."""
        return all(check.state != "missing" for check in self.checks)

    def facts(self) -> dict[str, object]:
        """JSON-able: `able`, and the findings as mappings."""
        return {"able": self.able, "checks": [asdict(check) for check in self.checks]}


def examine(*, measure: bool = False) -> Report:
    """Looks at the machine; `measure` also measures the roofline's ceilings when no cached ones are valid."""
    looked = (python(), compilers(), processor(), memory(), sandbox(), roofline(measure=measure), gpu(), storage(), optional(), keys())
    return Report(tuple(check for checks in looked for check in checks))


def python() -> list[Check]:
    from evo import __version__

    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return [
        Check("evo", "version", "ok", f"{__version__} on Python {platform.python_version()} ({sys.executable})"),
        Check("evo", "system", "ok", f"{distribution()}, {system}"),
    ]


def distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return platform.system()


def compilers() -> list[Check]:
    found = [
        Check("compiler", name, "ok", f"{version} ({path})")
        for name in ("g++", "clang++")
        if (path := shutil.which(name)) and (version := first_line([path, "--version"]))
    ]
    if not found:
        found.append(Check("compiler", "C++", "missing", "neither g++ nor clang++ is on the path", "apt install g++"))
    return [*found, disassembler()]


def disassembler() -> Check:
    """Descriptors are read from the disassembly."""
    from fitness.targets.base import TargetError
    from fitness.targets.disassembly import find_disassembler

    try:
        return Check("compiler", "disassembler", "ok", str(find_disassembler()))
    except TargetError as error:
        return Check("compiler", "disassembler", "missing", str(error), "apt install binutils")


def first_line(command: list[str]) -> str:
    """The first line a program prints; empty when it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def processor() -> list[Check]:
    cores = sorted(os.sched_getaffinity(0))
    from fitness.device import cpu_device

    device = cpu_device()
    caches = ", ".join(f"L{cache.level} {cache.bytes >> 10} KiB" for cache in device.caches) or "not visible here"
    checks = [Check("processor", "model", "ok", device.name), Check("processor", "caches", "ok", caches)]
    count = f"{len(cores)} of {os.cpu_count()} cores usable ({ranges(cores)}); core {cores[-1]} measures unless the config says otherwise"
    alone = "With one core, compiles and timing share it: a search works but takes turns. Give it two."
    checks.append(Check("processor", "cores", "note" if len(cores) < 2 else "ok", count, alone if len(cores) < 2 else ""))
    governor = read(f"/sys/devices/system/cpu/cpu{cores[-1]}/cpufreq/scaling_governor")
    if governor:
        slow = governor not in ("performance", "schedutil")
        advice = "cpupower frequency-set -g performance   (steadier clocks; pairing absorbs most of the drift)" if slow else ""
        checks.append(Check("processor", "governor", "note" if slow else "ok", governor, advice))
    else:
        checks.append(Check("processor", "governor", "ok", "not visible here (a virtual machine or container)"))
    siblings = read(f"/sys/devices/system/cpu/cpu{cores[-1]}/topology/thread_siblings_list")
    if siblings:
        shared = siblings != str(cores[-1])
        note = f"core {cores[-1]} shares its execution units: {siblings}" if shared else f"core {cores[-1]} is alone on its execution units"
        advice = "Keep the sibling idle while measuring." if shared else ""
        checks.append(Check("processor", "siblings", "note" if shared else "ok", note, advice))
    return checks


def ranges(cores: list[int]) -> str:
    """`0-3,8` for [0, 1, 2, 3, 8]."""
    parts: list[str] = []
    start = previous = cores[0]
    for core in [*cores[1:], -1]:
        if core != previous + 1:
            parts.append(str(start) if start == previous else f"{start}-{previous}")
            start = core
        previous = core
    return ",".join(parts)


def memory() -> list[Check]:
    from fitness.pages import collapses

    facts = dict(line.split(":", 1) for line in read("/proc/meminfo").splitlines() if ":" in line)
    total, available = (int(facts.get(name, "0 kB").split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    limit = read("/sys/fs/cgroup/memory.max") or read("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    limit = "" if limit.isdigit() and int(limit) > total else limit
    capped = f", this container may hold {gib(int(limit))}" if limit.isdigit() else ""
    checks = [Check("memory", "memory", "ok", f"{gib(total)}, {gib(available)} available{capped}")]
    pages = read("/sys/kernel/mm/transparent_hugepage/enabled")
    mode = pages.partition("[")[2].partition("]")[0] or "not visible here"
    never = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled   (huge pages help large arrays)"
    checks.append(Check("memory", "huge pages", "note" if mode == "never" else "ok", mode, never if mode == "never" else ""))
    shared = "made when asked for (MADV_COLLAPSE)" if collapses() else "only where shmem_enabled says so"
    newer = "" if collapses() else "Linux 6.1 or newer: mapping arguments into a runner then costs nothing, and their place matters less"
    checks.append(Check("memory", "huge pages of kernels' arguments", "ok" if collapses() else "note", shared, newer))
    return checks


def sandbox() -> list[Check]:
    """What confines a kernel here, as the evaluator itself will choose it, and tried out."""
    from fitness.sandbox import LEVELS, SandboxError, available, choose

    try:
        chosen = choose("auto")
    except SandboxError as error:
        return [Check("sandbox", "strength", "missing", str(error), "apt install bubblewrap")]
    strongest = next(iter(LEVELS.values())).isolates
    lacks = [name for name in strongest if name not in chosen.isolates]
    levels = list(LEVELS)
    stronger = [f"{level}: {available()[level]}" for level in levels[: levels.index(chosen.level)] if available()[level]]
    advice = "\n".join([*chosen.strengthen(), *stronger])
    takes = ", ".join(chosen.isolates) + (f"; NOT {', '.join(lacks)}" if lacks else "")
    return [
        Check("sandbox", "strength", "note" if advice else "ok", chosen.level, advice),
        Check("sandbox", "isolates", "note" if lacks else "ok", takes),
        *trial(chosen.level),
        memory_check(),
    ]


def memory_check() -> Check:
    """What bounds the memory of kernels and compilers."""
    from fitness.sandbox import cgroup
    from fitness.sandbox.base import memory_limits

    found = cgroup.place() is not None
    return Check("sandbox", "memory", "ok" if found else "note", memory_limits(), "" if found else cgroup.ADVICE)


@functools.cache
def trial(level: str) -> tuple[Check, ...]:
    """Starts one process for kernels and one for baselines at this level, and asks the system what holds them."""
    from fitness.referee import Referee
    from fitness.sandbox import LEVELS

    try:
        with Referee(sandbox=LEVELS[level], pool=1) as referee:
            filtered, named = referee.trial()
    except Exception as error:  # whatever it is, no kernel can be measured here
        return (Check("sandbox", "runners", "missing", f"do not start: {error}", "EVO_SANDBOX=LEVEL tries another level"),)
    runners = Check("sandbox", "runners", "ok", "start, for kernels and for baselines")
    if named:
        return runners, Check("sandbox", "system calls", "ok", "filtered; a refused call is named")
    if filtered:
        return runners, Check("sandbox", "system calls", "ok", "filtered; a refused call ends the kernel, unnamed (Linux 5.5 names it)")
    remedy = "Allow seccomp(2): a kernel's system calls are not filtered here."
    return runners, Check("sandbox", "system calls", "note", "NOT filtered: seccomp is refused", remedy)


def roofline(*, measure: bool) -> list[Check]:
    """The ceilings that shares are taken of, for the core and compiler that a config without further words uses."""
    from fitness.cache import Cache
    from fitness.roofline import ceilings, known_ceilings
    from fitness.targets.base import TargetError
    from fitness.targets.toolchain import find_toolchain

    try:
        toolchain = find_toolchain("auto")
        core = max(os.sched_getaffinity(0))
        cache = Cache()
        found = ceilings(cache, core, toolchain) if measure else known_ceilings(cache, core, toolchain)
    except Exception as error:  # whatever keeps the roofline from being measured is the finding
        compiler_is_missing = isinstance(error, TargetError)
        return [Check("roofline", "ceilings", "note", "need a compiler" if compiler_is_missing else f"not to be had: {error}")]
    if found is None:
        return [Check("roofline", "ceilings", "note", "not measured yet", "evo doctor --measure   (or the first search does it)")]
    memory_text = f"read {found.read / 1e9:.1f}, copy {found.copy / 1e9:.1f}, streaming copy {found.nt_copy / 1e9:.1f} GB/s"
    compute = f"float32 {found.fma_f32 / 1e9:.0f}, float64 {found.fma_f64 / 1e9:.0f} GFLOP/s at {found.frequency / 1e9:.2f} GHz"
    return [
        Check("roofline", "memory", "ok", f"{memory_text} (core {ranges(sorted(found.cores))})"),
        Check("roofline", "arithmetic", "ok", compute),
    ]


def gpu() -> list[Check]:
    """The device of the targets `triton` and `cuda`; by nvidia-smi, without making a context on it."""
    from fitness.gpu.device import find_gpu, installed

    device = find_gpu()
    if device is None:
        how = "kernels for one can still be built for a named architecture (target.architecture) and described, not timed"
        return [Check("gpu", "device", "note", "no NVIDIA GPU: nvidia-smi does not answer", how)]
    checks = [Check("gpu", "device", "ok", f"{device.name} ({device.architecture}, {device.memory} MiB, driver {device.driver})")]
    missing = [name for name in ("torch", "triton") if not installed(name)]
    if missing:
        checks.append(Check("gpu", "packages", "note", f"{', '.join(missing)} not installed", "pip install 'evo-kernels[gpu]'"))
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    found = os.path.exists(nvcc)
    remedy = "" if found else "install NVIDIA's CUDA toolkit   (kernels in CUDA C++)"
    return [*checks, Check("gpu", "nvcc", "ok" if found else "note", nvcc if found else "not installed", remedy)]


def storage() -> list[Check]:
    from fitness.cache import default_root

    root = default_root()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        return [Check("cache", "folder", "missing", f"{root} cannot be written", "set XDG_CACHE_HOME to a folder of your own")]
    low = free < 1 << 30
    return [Check("cache", "folder", "note" if low else "ok", f"{root}, {gib(free)} free", "Free some space." if low else "")]


def optional() -> list[Check]:
    from importlib.metadata import PackageNotFoundError, version

    checks = []
    for name, remedy in OPTIONAL_PACKAGES.items():
        try:
            checks.append(Check("optional", name, "ok", version(name)))
        except PackageNotFoundError:
            checks.append(Check("optional", name, "note", "not installed", remedy))
    for name, remedy in OPTIONAL_PROGRAMS.items():
        path = shutil.which(name)
        checks.append(Check("optional", name, "ok" if path else "note", path or "not installed", "" if path else remedy))
    return checks


def keys() -> list[Check]:
    """Names of the model keys that are set; values are never touched."""
    present = [name for name in MODEL_KEYS if os.environ.get(name)]
    text = ", ".join(present) if present else "none set (only operators that ask a model need one)"
    return [Check("models", "keys", "ok", text)]


def gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def read(path: str) -> str:
    """A small system file's text, stripped; empty when it is not there or not readable."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
