"""Seccomp filters: which system calls a confined process may make, by which arguments. Standard library only (runs in the sandbox).

A filter is a list of `Rule`s; what no rule allows is *denied*. A denied call is either notified (the kernel blocks the caller and tells
the holder of the listener descriptor the call's number and arguments: evidence that the caller cannot forge) or kills the process.
Sources: seccomp(2), seccomp_unotify(2), Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fitness.sandbox.syscalls import AUDIT_ARCH, NUMBERS

__all__ = [
    "ALLOW",
    "KILL",
    "LOADING",
    "NOTIFY",
    "Only",
    "Rule",
    "SeccompError",
    "allow",
    "assemble",
    "errno_action",
    "install",
    "loaded_rules",
    "network_rules",
    "runner_rules",
]

ALLOW = 0x7FFF0000
NOTIFY = 0x7FC00000
KILL = 0x80000000
_ERRNO = 0x00050000
_NEW_LISTENER = 1 << 3
_X32 = 0x40000000

_LD, _JEQ, _JGE, _JGT, _JSET, _RET = 0x20, 0x15, 0x35, 0x25, 0x45, 0x06

CLONE_THREAD = 0x00010000
PR_SET_VMA = 0x53564D41
PR_SET_NO_NEW_PRIVS = 38
SIGABRT = 6
AT_EMPTY_PATH = 0x1000


def _words(text: str) -> list[str]:
    return text.split()


class SeccompError(OSError):
    """The kernel refused the filter."""


@dataclass(frozen=True)
class Only:
    """A test of one argument: "in" (its low 32 bits are one of `values`), "bits" (it has the one bit values[0] set), "most" (as 64 bits
    it is ≤ values[0]), "zero" (as 64 bits it is 0)."""

    argument: int
    test: str
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rule:
    """`action` for the system call `name` when every condition holds; else the filter's default action."""

    name: str
    action: int = ALLOW
    conditions: tuple[Only, ...] = ()


def errno_action(code: int) -> int:
    return _ERRNO | code


def allow(*names: str) -> list[Rule]:
    return [Rule(name) for name in names]


def _instruction(code: int, jump_true: int, jump_false: int, operand: int) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, operand & 0xFFFFFFFF)


def _test(only: Only, no: bytes) -> list[bytes]:
    """Instructions that fall through when the test holds and end with `no` when it does not."""
    low, high = _instruction(_LD, 0, 0, 16 + 8 * only.argument), _instruction(_LD, 0, 0, 20 + 8 * only.argument)
    if only.test == "in":
        count = len(only.values)
        return [low, *(_instruction(_JEQ, count - i, 0, value) for i, value in enumerate(only.values)), no]
    if only.test == "bits":
        return [low, _instruction(_JSET, 1, 0, only.values[0]), no]
    if only.test == "most":
        limit_high, limit_low = only.values[0] >> 32, only.values[0] & 0xFFFFFFFF
        above, below = _instruction(_JGT, 3, 0, limit_high), _instruction(_JEQ, 0, 3, limit_high)
        return [high, above, below, low, _instruction(_JGT, 0, 1, limit_low), no]
    if only.test == "zero":
        return [high, _instruction(_JEQ, 0, 2, 0), low, _instruction(_JEQ, 1, 0, 0), no]
    raise ValueError(only.test)


def _block(rule: Rule, number: int, default: int) -> list[bytes]:
    """Instructions for one system call, whose number is in the accumulator. Control leaves only by RET or by skipping the block."""
    no = _instruction(_RET, 0, 0, default)
    body = [instruction for only in rule.conditions for instruction in _test(only, no)]
    body.append(_instruction(_RET, 0, 0, rule.action))
    return [_instruction(_JEQ, 0, len(body), number), *body]


def assemble(rules: Iterable[Rule], default: int) -> bytes:
    """The filter program. Of several rules for one call the first decides. Names unknown on this architecture are left out."""
    program = [
        _instruction(_LD, 0, 0, 4),
        _instruction(_JEQ, 1, 0, AUDIT_ARCH),
        _instruction(_RET, 0, 0, KILL),  # another architecture's calls (int 0x80) would be read by the wrong table
        _instruction(_LD, 0, 0, 0),
        _instruction(_JGE, 0, 1, _X32),
        _instruction(_RET, 0, 0, KILL),
    ]
    seen: set[str] = set()
    for rule in rules:
        number = NUMBERS.get(rule.name)
        if number is None or rule.name in seen:
            continue
        seen.add(rule.name)
        program += _block(rule, number, default)
    program.append(_instruction(_RET, 0, 0, default))
    return b"".join(program)


def install(program: bytes, *, listener: bool) -> int:
    """Installs a filter on this process for good; returns the listener descriptor, or -1 without one. Raises SeccompError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise SeccompError(ctypes.get_errno(), "no_new_privs was refused")
    code = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(NUMBERS["seccomp"], ctypes.c_long(1), ctypes.c_long(_NEW_LISTENER if listener else 0), header)
    if result < 0:
        code_ = ctypes.get_errno()
        raise SeccompError(code_, f"the seccomp filter was refused: {os.strerror(code_)}")
    return int(result) if listener else -1


LOADING = _words(
    """
    open openat openat2 stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat getcwd statfs fstatfs
    getdents64
    """
)
"""Calls that look at files: needed while a program is loaded, refused afterwards (by the referee, see `runner_rules`)."""

_ALWAYS = _words(
    """
    read pread64 lseek fstat close munmap mprotect brk futex futex_wait futex_wake clock_gettime clock_getres gettimeofday
    time nanosleep clock_nanosleep sched_yield getcpu sched_getaffinity exit exit_group rt_sigreturn rt_sigaction rt_sigprocmask
    sigaltstack restart_syscall getpid getppid getpgrp getpgid getsid getpriority sched_getscheduler sched_getparam gettid getuid
    geteuid getgid getegid getrandom getrlimit getrusage sysinfo uname set_robust_list set_tid_address rseq 
    """
)


ADVICE_TAKEN = (0, 1, 2, 3, 4, 8, 14, 15)
"""Of madvise: normal, random, sequential, willneed, dontneed, free, hugepage, nohugepage: what allocators and libraries say about their own
memory. Advice that reshapes the referee's buffers for later calls (populate, collapse, remove, pageout, cold, …) is not a kernel's."""


def runner_rules(
    *, pid: int, threads: int, memory: int, written: Sequence[int], control: int, files: int, refine: bool = False
) -> list[Rule]:
    """What a runner may do. Everything else is denied: processes, signals, sockets, other processes' memory, timers, scheduling, …

    pid: its own, as it sees itself. written: descriptors it may write to. memory: the most bytes of one mapping.
    files: the action for calls that look at files (ALLOW, or NOTIFY for the referee to decide by stage). refine: whether the process
    may install a further filter on itself (see `loaded_rules`).
    """
    written_to = (Only(0, "in", tuple(written)),)
    on_control = (Only(0, "in", (control,)),)
    rules = [
        Rule("read"),
        Rule("write", ALLOW, written_to),
        Rule("futex"),
        Rule("mmap", ALLOW, (Only(1, "most", (memory,)),)),
        Rule("mremap", ALLOW, (Only(2, "most", (memory,)),)),
        Rule("madvise", ALLOW, (Only(2, "in", ADVICE_TAKEN),)),
        Rule("writev", ALLOW, written_to),
        *(Rule(name, ALLOW, on_control) for name in ("recvmsg", "recvfrom", "sendmsg", "sendto")),
        Rule("tgkill", ALLOW, (Only(0, "in", (pid,)), Only(2, "in", (SIGABRT,)))),  # abort()
        Rule("prctl", ALLOW, (Only(0, "in", (PR_SET_VMA, PR_SET_NO_NEW_PRIVS) if refine else (PR_SET_VMA,)),)),  # malloc names its mappings
        *([Rule("seccomp")] if refine else []),
        Rule("prlimit64", ALLOW, (Only(2, "zero"),)),
        Rule("clone3", errno_action(errno.ENOSYS)),  # its flags lie in memory, out of a filter's sight; libc falls back to clone
        Rule("ioctl", errno_action(errno.ENOTTY)),  # stdio asks whether a stream is a terminal
        *allow(*_ALWAYS),
        *([] if files == ALLOW else [Rule("newfstatat", ALLOW, (Only(0, "in", (0, 1, 2)), Only(3, "bits", (AT_EMPTY_PATH,))))]),  # fstat
        *(Rule(name, files) for name in LOADING),
    ]
    if threads > 1:
        rules.append(Rule("clone", ALLOW, (Only(0, "bits", (CLONE_THREAD,)),)))
    return rules


def loaded_rules() -> list[Rule]:
    """On top of `runner_rules`, once the program is loaded, where there is no listener and so no referee to decide by stage."""
    return [Rule(name, KILL) for name in LOADING]


def network_rules() -> list[Rule]:
    """For compilers where no network namespace is to be had: deny-list with EACCES/EPERM; use with the default action ALLOW."""
    denied = _words(
        """
        socket socketpair connect bind listen accept accept4 ptrace process_vm_readv process_vm_writev pidfd_getfd pidfd_open
        pidfd_send_signal bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key
        mount umount2 pivot_root chroot unshare setns kexec_load init_module finit_module reboot open_by_handle_at
        """
    )
    return [Rule(name, errno_action(errno.EACCES)) for name in denied]
