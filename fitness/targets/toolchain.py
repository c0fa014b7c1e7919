"""The C++ compiler: which one there is, what it calls itself, and what it must be told about this CPU."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fitness.cache import content_key
from fitness.targets.base import TargetError

__all__ = ["FEATURES", "Toolchain", "cpu_flags", "find_toolchain", "installed_compilers"]

FEATURES: dict[str, tuple[str, str]] = {
    # /proc/cpuinfo: (compiler flag, macro it defines)
    "sse4_2": ("-msse4.2", "__SSE4_2__"),
    "avx": ("-mavx", "__AVX__"),
    "f16c": ("-mf16c", "__F16C__"),
    "fma": ("-mfma", "__FMA__"),
    "bmi1": ("-mbmi", "__BMI__"),
    "bmi2": ("-mbmi2", "__BMI2__"),
    "avx2": ("-mavx2", "__AVX2__"),
    "avx512f": ("-mavx512f", "__AVX512F__"),
    "avx512cd": ("-mavx512cd", "__AVX512CD__"),
    "avx512dq": ("-mavx512dq", "__AVX512DQ__"),
    "avx512bw": ("-mavx512bw", "__AVX512BW__"),
    "avx512vl": ("-mavx512vl", "__AVX512VL__"),
    "avx512vbmi": ("-mavx512vbmi", "__AVX512VBMI__"),
    "avx512_vbmi2": ("-mavx512vbmi2", "__AVX512VBMI2__"),
    "avx512ifma": ("-mavx512ifma", "__AVX512IFMA__"),
    "avx512_vnni": ("-mavx512vnni", "__AVX512VNNI__"),
    "avx512_bf16": ("-mavx512bf16", "__AVX512BF16__"),
    "avx512_fp16": ("-mavx512fp16", "__AVX512FP16__"),
    "avx512_bitalg": ("-mavx512bitalg", "__AVX512BITALG__"),
    "avx512_vpopcntdq": ("-mavx512vpopcntdq", "__AVX512VPOPCNTDQ__"),
    "avx_vnni": ("-mavxvnni", "__AVXVNNI__"),
    "gfni": ("-mgfni", "__GFNI__"),
}
"""x86 features worth having in a numeric kernel."""

INSTALL = "Install one (Debian, Ubuntu: `apt install g++`), or name its path as `target.compiler` or in $CXX."


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A compiler as found on this machine for this CPU."""

    command: Path
    family: str
    """`gcc` or `clang`."""
    version: str
    """First line of `--version`."""
    machine_flags: tuple[str, ...]
    """`-march=native` and the features of this CPU that it does not turn on by itself."""
    features: tuple[str, ...]
    """Names as in /proc/cpuinfo of the `FEATURES` in force."""
    macros: frozenset[str]
    """Names of everything predefined under the machine flags."""
    identity: str
    """Hash of the version and of what `-march=native` means here: artifacts of equal identities are interchangeable."""

    @property
    def vector_bits(self) -> int:
        """Widest floating-point vector this compiler may use here."""
        if "avx512f" in self.features:
            return 512
        return 256 if "avx" in self.features else 128


def find_toolchain(compiler: str = "auto") -> Toolchain:
    """`auto` ($CXX, else g++, else clang++, versioned names included), a command name, or a path. Raises `TargetError`."""
    key = "target.compiler"
    if compiler == "auto" and (named := os.environ.get("CXX", "")):
        compiler, key = named, "CXX"
    if compiler == "auto":
        found = installed_compilers()
        if not found:
            raise TargetError(
                "There is no C++ compiler.", key=key, found="neither g++ nor clang++ on the PATH", expected="GCC or Clang", remedy=INSTALL
            )
        return _probe(found[0])
    path = shutil.which(compiler)
    if path is None and compiler in ("g++", "clang++"):
        path = next((str(each) for each in installed_compilers() if each.name.startswith(compiler)), None)
    if path is None:
        raise TargetError(
            "The C++ compiler is no command here.", key=key, found=compiler, expected="`auto`, a command or a path", remedy=INSTALL
        )
    return _probe(Path(path))


@functools.cache
def installed_compilers() -> tuple[Path, ...]:
    """C++ compilers in PATH: g++ first, then clang++, each plain name before versioned ones, newest first."""
    found: dict[str, Path] = {}
    for folder in os.get_exec_path():
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if re.fullmatch(r"(clang|g)\+\+(-\d+)?", name) and name not in found and os.access(os.path.join(folder, name), os.X_OK):
                found[name] = Path(folder, name)

    def order(name: str) -> tuple[bool, bool, int]:
        stem, _, number = name.partition("-")
        return stem != "g++", bool(number), -int(number or 0)

    return tuple(found[name] for name in sorted(found, key=order))


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The flags of the first CPU in /proc/cpuinfo; empty where that file says none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


@functools.cache
def _probe(command: Path) -> Toolchain:
    version_text = _ask(command, "--version")
    version = version_text.splitlines()[0] if version_text else ""
    plain = _macros(command)
    if "__GNUC__" not in plain:
        raise TargetError(
            "This is no C++ compiler that evo knows.",
            key="target.compiler",
            found=f"{command}, which calls itself {version!r}",
            expected="GCC or Clang",
            remedy=INSTALL,
        )
    family = "clang" if "__clang__" in plain else "gcc"
    native = "-march=native" if _accepts(command, "-march=native") else "-mcpu=native"
    macros = _macros(command, native)
    present = cpu_flags()
    # GCC 12 takes a Zen 4 for a Zen 3: what the CPU has and the name does not imply is asked for by feature.
    wanted = [flag for name, (flag, macro) in FEATURES.items() if name in present and macro not in macros and _accepts(command, flag)]
    flags = (native, *wanted)
    macros = _macros(command, *flags)
    features = tuple(name for name, (_, macro) in FEATURES.items() if macro in macros)
    meaning = _ask(command, *flags, "-###", "-E", "-x", "c++", os.devnull)
    return Toolchain(command, family, version, flags, features, macros, content_key(version_text, meaning, *flags))


def _macros(command: Path, *flags: str) -> frozenset[str]:
    text = _ask(command, *flags, "-dM", "-E", "-x", "c++", os.devnull)
    return frozenset(line.split()[1] for line in text.splitlines() if line.startswith("#define "))


def _accepts(command: Path, flag: str) -> bool:
    return subprocess.run([command, flag, "-E", "-x", "c++", os.devnull], capture_output=True, timeout=30).returncode == 0


def _ask(command: Path, *arguments: str) -> str:
    """Output of a harmless question to the compiler. Raises `TargetError` when it does not answer."""
    try:
        environment = {**os.environ, "LC_ALL": "C"}
        answer = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=30, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(
            "The C++ compiler cannot be run.", key="target.compiler", found=f"{command}: {error}", expected="GCC or Clang", remedy=INSTALL
        ) from error
    return answer.stdout + answer.stderr
