"""The seccomp listener of one runner: which system call it tried, by the operating system's word (seccomp_unotify(2))."""

from __future__ import annotations

import fcntl
import struct
from dataclasses import dataclass

from fitness.sandbox.syscalls import name_of

__all__ = ["Attempt", "Listener"]

_RECEIVE = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV, struct seccomp_notif is 80 bytes
_ANSWER = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND, struct seccomp_notif_resp is 24 bytes
_CONTINUE = 1


@dataclass(frozen=True, slots=True)
class Attempt:
    """A system call that the filter stopped; its caller is blocked until it is answered or killed."""

    id: int
    name: str
    arguments: tuple[int, ...]


class Listener:
    def __init__(self, fd: int) -> None:
        self.fd = fd

    def receive(self) -> Attempt | None:
        """The attempt that made the descriptor readable; None when its caller is gone."""
        notice = bytearray(80)
        try:
            fcntl.ioctl(self.fd, _RECEIVE, notice)
        except OSError:
            return None
        number, _pid, _flags, call, _arch, _where, *arguments = struct.unpack("=QIIiIQ6Q", notice)
        return Attempt(number, name_of(call), tuple(arguments))

    def let_through(self, attempt: Attempt) -> None:
        answer = struct.pack("=QqiI", attempt.id, 0, 0, _CONTINUE)
        try:
            fcntl.ioctl(self.fd, _ANSWER, answer)
        except OSError:
            return  # the caller is gone
