"""What the referee says about a runner that failed: outcome, reason, and a message for whoever repairs the kernel.

Every verdict rests on what the kernel of the operating system says (wait status, seccomp notification, clocks, resident size) or on the
referee's own memory. What the runner printed is quoted as such and decides nothing but the wording.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping, Sequence

from archive.evaluation import Diagnostic, Outcome
from fitness import fault
from fitness.failure import RunnerFailure
from fitness.nursery import Ending
from fitness.runner import BROKEN, MOAT, RAISED

__all__ = [
    "CIRCUMSTANTIAL",
    "Place",
    "artifact_lost",
    "ended",
    "flooded",
    "forbidden",
    "lost",
    "not_loaded",
    "off_clock",
    "out_of_memory",
    "tampered",
    "thread_bomb",
    "threads_left",
    "timed_out",
    "would_not_freeze",
]

CIRCUMSTANTIAL = frozenset({"off_clock_work", "would_not_freeze"})
"""Findings that rest on the system's accounts of time alone. What a hypervisor or an interrupt takes looks the same, so a kernel is
condemned by them only when a fresh runner shows them too."""

Place = tuple[str, int, int]
"""(name, address, bytes) of an argument in a runner, by its own word."""

_FAULTS: dict[int, tuple[str, str]] = {
    signal.SIGSEGV: ("illegal_access", "accessed memory that is not its own, or overflowed its stack"),
    signal.SIGBUS: ("bus_error", "accessed memory that cannot be backed, or misaligned"),
    signal.SIGFPE: ("arithmetic_fault", "divided an integer by zero, or overflowed a division"),
    signal.SIGILL: ("illegal_instruction", "executed an instruction this CPU does not have, or ran into __builtin_trap/unreachable code"),
    signal.SIGABRT: ("aborted", "called abort(): a failed assertion, an uncaught exception, or heap corruption"),
    signal.SIGTRAP: ("trapped", "hit a breakpoint or __builtin_trap"),
}


def _failure(outcome: Outcome, stage: str, reason: str, message: str, details: Mapping[str, object] | None = None) -> RunnerFailure:
    return RunnerFailure(outcome, Diagnostic(stage, reason, message, details or {}))


def forbidden(stage: str, name: str, arguments: tuple[int, ...], memory: int) -> RunnerFailure:
    """A system call that seccomp stopped; name and arguments are the operating system's word."""
    details: dict[str, object] = {"syscall": name, "arguments": [hex(argument) for argument in arguments]}
    if name in ("mmap", "mremap"):
        wanted = arguments[1 if name == "mmap" else 2]
        return out_of_memory(stage, wanted, memory, "asked for a single mapping of")
    advice = "A kernel computes from its inputs into its outputs and needs no such service; remove the call."
    if name in ("clone", "fork", "vfork", "clone3"):
        advice = "A kernel may not start processes, and threads only as many as the configuration allows (`threads`); remove the call."
    elif name in ("write", "writev"):
        advice = f"Only stdout and stderr may be written to, not descriptor {arguments[0] & 0xFFFFFFFF}."
    elif name == "tgkill":
        advice = f"It tried to raise signal {arguments[2] & 0xFF}; only abort() is let through."
    return _failure(Outcome.REJECTED, stage, "forbidden_syscall", f"The kernel made the forbidden system call `{name}`. {advice}", details)


def out_of_memory(stage: str, used: int, limit: int, what: str) -> RunnerFailure:
    message = (
        f"The kernel {what} {used / 2**20:,.0f} MiB; it may hold {limit / 2**20:,.0f} MiB beyond its arguments. "
        "Ask for scratch memory through workspace(), or block the computation so that it needs less."
    )
    return _failure(Outcome.OUT_OF_MEMORY, stage, "memory_limit", message, {"bytes": used, "limit_bytes": limit})


def timed_out(stage: str, what: str, limit: float) -> RunnerFailure:
    reason = {"call": "call_timeout", "load": "load_timeout"}.get(what, f"{what}_timeout")
    message = (
        f"The {what} did not end within {limit:g} s and was killed. Look for an endless loop, a deadlock, or a much too slow algorithm."
    )
    return _failure(Outcome.TIMEOUT, stage, reason, message, {"limit_seconds": limit})


def lost() -> RunnerFailure:
    return _failure(Outcome.INFRASTRUCTURE_ERROR, "load", "runner_lost", "A waiting runner died before it was used.")


def artifact_lost(text: str) -> RunnerFailure:
    return _failure(Outcome.INFRASTRUCTURE_ERROR, "load", "artifact_lost", f"The built program cannot be read: {text}.")


def not_loaded(text: str) -> RunnerFailure:
    """text: the loader's own message, as the runner repeats it."""
    text = re.sub(r"/proc/self/fd/\d+", "the library", text[:2000])
    reason = "missing_symbol" if "undefined symbol" in text else "load_error"
    return _failure(Outcome.CRASH, "load", reason, f"The program could not be loaded: {text}", {"text": text})


def tampered(stage: str, found: str) -> RunnerFailure:
    message = f"The runner's channel was tampered with: the referee found {found}. A kernel has no business with the runner's descriptors."
    return _failure(Outcome.REJECTED, stage, "protocol_violation", message)


def off_clock(stage: str, when: str, used: int, allowed: int, threads: int) -> RunnerFailure:
    """used, allowed: nanoseconds of CPU time."""
    message = (
        f"The kernel worked {when}, off the clock: {used / 1e6:.3f} ms of CPU time where {allowed / 1e6:.3f} ms were possible with "
        f"{threads} thread(s). All work must be done between the call and its return."
    )
    details = {"cpu_ns": used, "allowed_ns": allowed, "threads": threads}
    return _failure(Outcome.REJECTED, stage, "off_clock_work", message, details)


def threads_left(stage: str, busy: int, allowed: int) -> RunnerFailure:
    message = (
        f"{busy} of the kernel's threads outlived the call at work, or are more than the {allowed} it may use. Join every thread before "
        "returning; only an idle pool that sleeps may stay."
    )
    return _failure(Outcome.REJECTED, stage, "threads_left", message, {"threads": busy, "allowed": allowed})


def thread_bomb(stage: str, threads: int, allowed: int) -> RunnerFailure:
    message = f"The kernel started {threads} threads; it may use {allowed}."
    return _failure(Outcome.REJECTED, stage, "thread_bomb", message, {"threads": threads, "allowed": allowed})


def flooded(stage: str, limit: int, said: bytes) -> RunnerFailure:
    message = f"The kernel printed over {limit >> 10} KiB to stdout or stderr. Remove the printing."
    return _failure(Outcome.REJECTED, stage, "output_flood", message, {"output": said.decode(errors="replace")})


def would_not_freeze(stage: str) -> RunnerFailure:
    return _failure(Outcome.REJECTED, stage, "would_not_freeze", "The runner could not be stopped after the call.")


def _near(address: int, places: Sequence[Place]) -> str:
    """`, 4 bytes after the end of the output `y`` for an address close to an argument."""
    best, text = MOAT, ""
    for name, begin, nbytes in places:
        if begin <= address < begin + nbytes:
            return f", {address - begin} bytes into the {name}" + (", which is read-only" if name.startswith("input") else "")
        distance, side = (address - begin - nbytes, "after the end") if address >= begin + nbytes else (begin - address, "before the start")
        if distance < best:
            best, text = distance, f", {distance} bytes {side} of the {name}"
    return text


def ended(stage: str, ending: Ending | None, limit: int, shared: int, printed: bytes, places: Sequence[Place] = ()) -> RunnerFailure:
    """The process is gone. shared: bytes of the slots it had mapped, which its peak includes. places: where they were, as it said."""
    number = os.WTERMSIG(ending.status) if ending is not None and os.WIFSIGNALED(ending.status) else 0
    address, rest = fault.parse(printed, number)
    said = rest.decode(errors="replace").strip()
    details: dict[str, object] = {"output": said} if said else {}
    quoted = f" It printed: {said[-400:]!r}." if said else ""
    if ending is None:
        return _failure(Outcome.CRASH, stage, "died", f"The runner ended and nobody knows how.{quoted}", details)
    details["peak_bytes"] = ending.peak
    if os.WIFEXITED(ending.status):
        code = os.WEXITSTATUS(ending.status)
        if code == BROKEN:
            message = (
                "The runner's own loop failed after the kernel had run: its descriptors were closed or its memory was overwritten. "
                f"Keep to the arguments.{quoted}"
            )
            return _failure(Outcome.REJECTED, stage, "runner_broken", message, details)
        if code == RAISED:
            return _failure(Outcome.CRASH, stage, "exception", f"The program raised an exception.{quoted}", details)
        message = f"The kernel ended its own process with exit status {code}. A kernel returns; it never calls exit().{quoted}"
        return _failure(Outcome.CRASH, stage, "exited", message, {**details, "status": code})
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    details["signal"] = name
    starved = ending.peak - shared > 0.9 * limit or "std::bad_alloc" in said or "MemoryError" in said
    if starved or number == signal.SIGKILL:
        return out_of_memory(stage, max(0, ending.peak - shared), limit, f"was ended by {name} while it held")
    if number == signal.SIGSYS:
        message = "The kernel made a forbidden system call (by another architecture's or an unfiltered entry) and was killed by seccomp."
        return _failure(Outcome.REJECTED, stage, "forbidden_syscall", message, details)
    if number == signal.SIGXCPU:
        return _failure(Outcome.TIMEOUT, stage, "cpu_limit", "The runner used up its limit of CPU time.", details)
    if number == signal.SIGXFSZ:
        return _failure(Outcome.REJECTED, stage, "file_size", "The kernel tried to write a file.", details)
    reason, meaning = _FAULTS.get(number, ("signal", "was ended by a signal"))
    where = ""
    if address is not None:
        details["address"] = hex(address)
        near = _near(address, places) if number in (signal.SIGSEGV, signal.SIGBUS) else ", that of the instruction"
        where = f" The runner reports address {address:#x}{near} (its own word, which the kernel could forge)."
    return _failure(Outcome.CRASH, stage, reason, f"The kernel crashed with {name}: it {meaning}.{where}{quoted}", details)
