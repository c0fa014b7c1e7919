"""What a sandboxed process may see of the file system: the system's programs and libraries, the interpreter, and what is named."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["environment", "program_paths", "python_paths", "system_paths"]

_SYSTEM = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt/rh",
    "/nix/store",
    "/gnu/store",
    "/run/current-system/sw",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/nsswitch.conf",
    "/etc/localtime",
]


def system_paths() -> list[str]:
    """Read-only paths that every sandboxed process sees, where they exist. Symbolic links are repeated as links."""
    return [path for path in _SYSTEM if Path(path).exists() or Path(path).is_symlink()]


def python_paths() -> list[str]:
    """The installation of the running interpreter where it lies outside the system's folders."""
    prefixes = dict.fromkeys(str(Path(prefix).resolve()) for prefix in (sys.base_prefix, sys.base_exec_prefix))
    executable = str(Path(getattr(sys, "_base_executable", "") or sys.executable).resolve())
    found = [prefix for prefix in prefixes if prefix not in ("/", "/usr")]
    if not any(executable.startswith(prefix + "/") for prefix in (*prefixes, "/usr", "/bin")):
        found.append(executable)
    return found


def program_paths(program: str) -> list[str]:
    """What a program outside the system's folders (a toolchain of its own, as of conda or Spack) needs of itself: every link that leads
    to it, and the installation it lies in."""
    path = Path(program)
    if not path.is_absolute():
        return []
    shown: list[Path] = []
    for _ in range(16):
        if not path.is_symlink():
            break
        shown.append(path)
        path = path.parent / path.readlink()
    real = path.resolve()
    for found in (path, real):
        installation = found.parent.parent if found.parent.name == "bin" else found.parent
        private = installation in (Path("/"), Path("/tmp"), Path("/var"), Path("/home"), Path.home(), *Path.home().parents)
        shown.append(found if private else installation)
    system = tuple(f"{folder}/" for folder in system_paths())
    return list(dict.fromkeys(str(each) for each in shown if not f"{each}/".startswith(system)))


def environment(threads: int, home: str = "/tmp") -> dict[str, str]:
    """The whole environment of a sandboxed process; nothing is inherited."""
    count = str(threads)
    variables = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": home,
        "TMPDIR": home,
        # Waiting threads sleep: a pool that spins after the call would be work off the clock.
        "OMP_WAIT_POLICY": "passive",
        "OMP_DYNAMIC": "false",
        "OMP_PROC_BIND": "false",
        **dict.fromkeys(variables, count),
    }
