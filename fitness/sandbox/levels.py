"""The levels of confinement, strongest first, and the choice among them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from fitness.sandbox.base import Sandbox, SandboxError
from fitness.sandbox.bundle import LAUNCHER, python_command

__all__ = ["LEVELS", "Bubblewrap", "Landlock", "Namespaces", "Rlimits", "available", "choose"]

FORCE = "EVO_SANDBOX"
"""Environment variable that takes the place of `auto`, so that a whole run can be forced onto one level."""

_INSTALL = "Install bubblewrap (`apt install bubblewrap`) for the best-tried confinement."
_USERNS = (
    "Allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
    "kernel.apparmor_restrict_unprivileged_userns; in a container: --security-opt seccomp=unconfined or --privileged)."
)


class Bubblewrap(Sandbox):
    """bwrap(1): every namespace, a read-only view of the system, a private /tmp, no capabilities."""

    level = "bubblewrap"
    isolates = ("files", "network", "processes", "users", "ipc", "capabilities")

    def command(
        self,
        argv: Sequence[str],
        *,
        read: Sequence[str] = (),
        write: Sequence[str] = (),
        filtered: bool = True,
        devices: Sequence[str] = (),
    ) -> list[str]:
        command = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL", "--hostname", "evo"]
        command += ["--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"]
        for path in self.visible(read):
            if Path(path).is_symlink():
                command += ["--symlink", os.readlink(path), path]
            else:
                command += ["--ro-bind-try", path, path]
        for path in write:
            command += ["--bind", path, path]
        for path in devices:
            command += ["--dev-bind-try", path, path]
        return [*command, "--remount-ro", "/", "--chdir", write[0] if write else "/tmp", "--", *argv]


class _Entered(Sandbox):
    """A level that our own launcher sets up (see `fitness.sandbox.enter`)."""

    def command(
        self,
        argv: Sequence[str],
        *,
        read: Sequence[str] = (),
        write: Sequence[str] = (),
        filtered: bool = True,
        devices: Sequence[str] = (),
    ) -> list[str]:
        spec = {
            "level": self.level,
            "read": self.visible(read),
            "write": list(write),
            "devices": list(devices),
            "filtered": filtered,
            "argv": list(argv),
        }
        return python_command(LAUNCHER, f"main({json.loads(json.dumps(spec))!r})")


class Namespaces(_Entered):
    """The same namespaces, entered by ourselves where bwrap is not installed."""

    level = "namespaces"
    isolates = ("files", "network", "processes", "users", "ipc", "capabilities")
    advice = (_INSTALL,)


class Landlock(_Entered):
    """Landlock for files, seccomp for network and tracing; needs no privilege and works inside containers."""

    level = "landlock"
    isolates = ("files", "network", "capabilities")
    advice = (_INSTALL, _USERNS)

    def visible(self, read: Sequence[str]) -> list[str]:
        # What a process in a namespace finds in its own /proc. PyTorch takes its slowest code where it cannot learn which CPU it is on.
        return [*super().visible(read), "/proc/cpuinfo", "/sys/devices/system/cpu"]


class Rlimits(_Entered):
    """Resource limits, dropped capabilities, and the seccomp filters where the kernel has them. Files stay readable."""

    level = "rlimits"
    isolates = ("capabilities",)
    advice = (
        _INSTALL,
        _USERNS,
        "Use a kernel ≥ 5.13 with Landlock enabled (lsm=landlock,…) so that kernels cannot read your files.",
    )


LEVELS: dict[str, Sandbox] = {sandbox.level: sandbox for sandbox in (Bubblewrap(), Namespaces(), Landlock(), Rlimits())}
"""By name, strongest first."""


@cache
def _why_not(level: str) -> str | None:
    if level == "bubblewrap" and shutil.which("bwrap") is None:
        return "bwrap is not installed"
    return LEVELS[level].probe()


def available() -> dict[str, str | None]:
    """Every level: None where it works on this host, else why not. Probed once per process."""
    return {level: _why_not(level) for level in LEVELS}


def choose(requirement: str = "auto") -> Sandbox:
    """The strongest level that works here.

    requirement: `auto`, or `required:LEVEL` to refuse anything weaker than LEVEL. The environment variable EVO_SANDBOX=LEVEL takes
    exactly that level (it still has to meet the requirement). Raises SandboxError.
    """
    order = list(LEVELS)
    least = _least(requirement, order)
    forced = os.environ.get(FORCE, "")
    if forced and forced not in LEVELS:
        raise SandboxError(f"{FORCE}: found {forced!r}; expected one of {', '.join(order)}. Unset it to take the strongest level.")
    tried = []
    for level in [forced] if forced else order:
        if order.index(level) > order.index(least):
            tried.append(f"{level}: weaker than the required {least}")
            continue
        why = _why_not(level)
        if why is None:
            return LEVELS[level]
        tried.append(f"{level}: {why}")
    advice = " ".join(LEVELS["rlimits"].strengthen())
    raise SandboxError(f"sandbox: found nothing that meets {requirement!r} here ({'; '.join(tried)}). {advice}")


def _least(requirement: str, order: list[str]) -> str:
    if requirement == "auto":
        return order[-1]
    prefix, _, level = requirement.partition(":")
    if prefix != "required" or level not in order:
        expected = "`auto` or `required:LEVEL` with LEVEL one of " + ", ".join(order)
        raise SandboxError(f"sandbox: found {requirement!r}; expected {expected}.")
    return level
