"""The referee's ends of a runner's channels, and what can be heard on them.

Words are one-way and carry nothing but "go on": `go` (a secret nonce and a number), `done` (the nonce again). Answers on the control
socket are claims. The seccomp listener and the pidfd, which a runner cannot write to, are heard together with them.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import socket
import struct
import termios
from enum import Enum, auto
from typing import Any

from fitness.listener import Listener
from fitness.nursery import Seat

__all__ = ["READ_CONTROL", "Channel", "Closed", "Heard", "Tampered"]

READ_CONTROL = (1 << 64) - 1
"""The number in a `go` word that sends the runner to its control socket instead of a slot."""


class Tampered(Exception):
    """Something was said that the runner's own code never says; the text completes "the referee found …"."""


class Closed(Exception):
    """The other end is gone."""


class Heard(Enum):
    """What woke the referee."""

    NOTHING = auto()
    DONE = auto()
    ANSWER = auto()
    ATTEMPT = auto()
    """A system call was stopped by the filter: see `Channel.listener`."""
    ENDED = auto()
    CLOSED = auto()


class Channel:
    """Everything to be heard from one runner. pidfd: of its process."""

    def __init__(self, seat: Seat, pidfd: int) -> None:
        self.seat = seat
        self._pidfd = pidfd
        self._control = seat.control.fileno()
        self.listener = Listener(seat.listener) if seat.listener >= 0 else None
        self._request = 0
        self._poll = select.poll()
        for fd in (seat.done, pidfd, self._control, seat.listener):
            if fd >= 0:
                self._poll.register(fd, select.POLLIN)
        self._only_done = [(seat.done, select.POLLIN)]
        seat.control.settimeout(10.0)

    def hear(self, milliseconds: float) -> Heard:
        """Waits for the first sign of life, of whatever kind."""
        events = self._poll.poll(milliseconds)
        if events == self._only_done:
            return Heard.DONE
        if not events:
            return Heard.NOTHING
        ready = dict(events)
        if self.listener is not None and ready.get(self.listener.fd, 0) & select.POLLIN:
            return Heard.ATTEMPT
        if self._pidfd in ready:
            return Heard.ENDED
        if ready.get(self.seat.done, 0) & select.POLLIN:
            return Heard.DONE
        if self._control in ready:
            # The end of a socket's stream looks like data until it is looked at.
            return Heard.ANSWER if self._peek() else Heard.CLOSED
        return Heard.CLOSED if self.seat.done in ready else Heard.NOTHING

    def _peek(self) -> bool:
        try:
            return bool(self.seat.control.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK))
        except OSError:
            return False

    # -- words ----------------------------------------------------------------------------------------------------------------

    def go(self, number: int) -> bytes:
        """Writes a `go` word; returns its nonce. Raises Closed."""
        nonce = os.urandom(8)
        try:
            os.write(self.seat.go, nonce + number.to_bytes(8, "little"))
        except OSError as error:
            raise Closed from error
        return nonce

    def take_done(self, nonce: bytes) -> None:
        """Reads the `done` word: exactly one may have been written, for this `go`. Raises Tampered."""
        word = os.read(self.seat.done, 4096)
        if word[: len(nonce)] != nonce:
            raise Tampered(f"a wrong `done` word ({word[:8].hex() or 'nothing'})")
        if len(word) > len(nonce):
            raise Tampered(f"{len(word)} bytes where one `done` word of {len(nonce)} was due")

    # -- questions and answers ------------------------------------------------------------------------------------------------

    def send(self, message: dict[str, Any], fds: list[int]) -> None:
        """Sends a request with descriptors. Raises Closed."""
        self._request += 1
        data = json.dumps({**message, "id": self._request}).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.seat.control.sendmsg([data], rights)
        except OSError as error:
            raise Closed from error

    def take_answer(self) -> dict[str, Any]:
        """The answer to the last request: a claim, never a verdict. Raises Tampered, Closed."""
        try:
            answer = json.loads(self.seat.control.recv(1 << 16, socket.MSG_DONTWAIT))
        except OSError as error:
            raise Closed from error
        except (ValueError, RecursionError):
            raise Tampered("an answer that is not JSON") from None
        if not isinstance(answer, dict) or answer.get("id") != self._request:
            raise Tampered("an answer to another question")
        return answer

    # -- what the program printed ---------------------------------------------------------------------------------------------

    def printed(self) -> int:
        """Bytes waiting on the program's stdout and stderr."""
        return int(struct.unpack("i", fcntl.ioctl(self.seat.output, termios.FIONREAD, b"\0\0\0\0"))[0])

    def said(self) -> bytes:
        """The last of what the program printed; quoted in diagnostics, believed nowhere."""
        try:
            return os.read(self.seat.output, 1 << 16)[-2000:]
        except OSError:
            return b""

    def close(self) -> None:
        self.seat.close()
