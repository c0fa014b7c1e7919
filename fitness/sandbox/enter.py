"""Enters a sandbox and executes a command in it: the child side of the levels that need no outside tool. Standard library only.

    namespaces   user, mount, pid, network, ipc and uts namespaces; a new root of read-only binds; no capabilities
    landlock     file access by Landlock rules, network and tracing by seccomp; works for any user, also inside containers
    rlimits      neither; the network and tracing filter where seccomp is to be had

Sources: user_namespaces(7), pivot_root(2), landlock(7), Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
from typing import Any

from fitness.sandbox import seccomp
from fitness.sandbox.syscalls import NUMBERS

__all__ = ["main"]

_CLONE = {"NEWNS": 0x20000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000, "NEWUSER": 0x10000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000}
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_ATIME = {1024: 1024, 2048: 2048, 4096: 1 << 21}
"""statvfs's noatime, nodiratime, relatime → mount flags: a remount in a user namespace must repeat them."""
_DEVICES = ("null", "zero", "full", "random", "urandom")
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _check(_libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def drop_privileges() -> None:
    """No capabilities now or after any exec, no set-user-id gains."""
    _check(_libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
    for capability in range(64):
        _libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; fails beyond the last one and without CAP_SETPCAP
    _libc.prctl(28, 0x2F, 0, 0, 0)  # PR_SET_SECUREBITS: uid 0 gains nothing by exec; fails without CAP_SETPCAP
    _libc.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT_CLEAR_ALL
    header = ctypes.create_string_buffer(struct.pack("@Ii", 0x20080522, 0))
    empty = ctypes.create_string_buffer(struct.pack("@6I", 0, 0, 0, 0, 0, 0))
    _check(_libc.capset(header, empty), "capset")


def _bind(source: str, target: str, *, writable: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "ab"):
            pass
    _mount(source, target, "", _BIND | _REC)
    facts = os.statvfs(target).f_flag
    kept = facts & (_RDONLY | _NOSUID | _NODEV | _NOEXEC)
    for bit, flag in _ATIME.items():
        kept |= flag if facts & bit else 0
    _mount("none", target, "", _BIND | _REMOUNT | _NOSUID | _NODEV | kept | (0 if writable else _RDONLY))


def _new_root(read: list[str], write: list[str], devices: list[str]) -> None:
    """Replaces the root by a tmpfs that holds the named paths, a few devices and an empty /tmp. Needs a mount namespace of our own."""
    _mount("none", "/", "", _REC | _PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", _NOSUID | _NODEV, "mode=755,size=64m")
    os.makedirs("/tmp/old")
    os.makedirs("/tmp/new")
    _check(_libc.syscall(NUMBERS["pivot_root"], b"/tmp", b"/tmp/old"), "pivot_root")
    os.chdir("/")
    _mount("tmpfs", "/new", "tmpfs", _NOSUID | _NODEV, "mode=755,size=256m")
    os.makedirs("/new/tmp")
    _mount("tmpfs", "/new/tmp", "tmpfs", _NOSUID | _NODEV, "mode=1777,size=64m")  # before the binds: a scratch folder may lie in it
    for path in read:
        if os.path.islink("/old" + path):
            os.makedirs(os.path.dirname("/new" + path), exist_ok=True)
            os.symlink(os.readlink("/old" + path), "/new" + path)
        elif os.path.exists("/old" + path):
            _bind("/old" + path, "/new" + path, writable=False)
    for path in write:
        _bind("/old" + path, "/new" + path, writable=True)
    for device in (*(f"/dev/{name}" for name in _DEVICES), *devices):
        os.makedirs(os.path.dirname(f"/new{device}"), exist_ok=True)
        with open(f"/new{device}", "ab"):
            pass
        _mount(f"/old{device}", f"/new{device}", "", _BIND)
    os.makedirs("/new/proc")
    os.symlink("/proc/self/fd", "/new/dev/fd")


def _namespaces(read: list[str], write: list[str], devices: list[str]) -> None:
    uid, gid = os.geteuid(), os.getegid()
    flags = 0
    for flag in _CLONE.values():
        flags |= flag
    _check(_libc.unshare(flags), "unshare")
    for file, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{file}", "w") as handle:
            handle.write(text)
    _new_root(read, write, devices)
    pid = os.fork()
    if pid != 0:
        _wait_for(pid)
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: the namespace dies with its launcher
    _mount("proc", "/new/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    os.chdir("/new")
    _check(_libc.syscall(NUMBERS["pivot_root"], b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", 2), "umount of the old root")  # MNT_DETACH
    os.chdir("/")
    _check(_libc.mount(b"none", b"/", b"", ctypes.c_ulong(_BIND | _REMOUNT | _RDONLY | _NOSUID | _NODEV), None), "read-only root")


def _wait_for(pid: int) -> None:
    """The launcher stays outside the pid namespace and ends as its first process ends."""
    os.closerange(3, 256)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _landlock(read: list[str], write: list[str], devices: list[str]) -> None:
    create, add, restrict = 444, 445, 446
    _libc.syscall.restype = ctypes.c_long
    abi = int(_libc.syscall(create, None, ctypes.c_size_t(0), 1))
    if abi < 1:
        raise OSError(ctypes.get_errno(), "the kernel has no Landlock, or it is not enabled at boot")
    files = (1 << 13) - 1 | (1 << 13 if abi >= 2 else 0) | (1 << 14 if abi >= 3 else 0) | (1 << 15 if abi >= 5 else 0)
    attributes = struct.pack("=QQQ", files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = int(_libc.syscall(create, ctypes.create_string_buffer(attributes, 24), ctypes.c_size_t(size), 0))
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset was refused")
    look, everything = 0b1101, files & ~(1 << 13)
    of_files = 0b111 | (1 << 14 if abi >= 3 else 0)
    devices = [*(f"/dev/{device}" for device in _DEVICES), *devices]
    wanted = [(path, look) for path in read] + [(path, everything) for path in write] + [(path, 0b110) for path in devices]
    for path, access in wanted:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = access if os.path.isdir(path) else access & of_files
            rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, fd), 12)
            _check(int(_libc.syscall(add, ruleset, 1, rule, 0)), f"landlock rule for {path}")
            os.close(fd)
    _check(_libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
    _check(int(_libc.syscall(restrict, ruleset, 0)), "landlock_restrict_self")
    os.close(ruleset)


def _quarantine_network(required: bool) -> None:
    try:
        seccomp.install(seccomp.assemble(seccomp.network_rules(), seccomp.ALLOW), listener=False)
    except OSError:
        if required:
            raise


def main(spec: dict[str, Any]) -> None:
    """Enters the sandbox that `spec` describes and executes its command; ends with status 125 and a line on stderr when it cannot."""
    try:
        if spec["level"] == "namespaces":
            _namespaces(spec["read"], spec["write"], spec["devices"])
            drop_privileges()
        elif spec["level"] == "landlock":
            drop_privileges()
            _landlock(spec["read"], spec["write"], spec["devices"])
            if spec["filtered"]:
                _quarantine_network(required=True)
        else:
            drop_privileges()
            if spec["filtered"]:
                _quarantine_network(required=False)
        os.chdir(spec["write"][0] if spec["write"] else "/")
        os.execvp(spec["argv"][0], spec["argv"])
    except BaseException as error:
        sys.stderr.write(f"evo-sandbox: {type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(125)
