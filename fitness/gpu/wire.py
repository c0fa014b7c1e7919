"""Messages between the referee and its GPU children: length-prefixed JSON on a stream socket, descriptors beside. Standard library only."""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

__all__ = ["LIMIT", "Closed", "blob", "receive", "send"]

LIMIT = 8 << 20
"""Bytes of the longest message."""
_MOST_FDS = 64


class Closed(Exception):
    """The other end is gone, or talks nonsense."""


def send(channel: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Raises `Closed`."""
    data = json.dumps(message).encode()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sent = channel.sendmsg([struct.pack("=I", len(data)), data], rights)
        rest = (struct.pack("=I", len(data)) + data)[sent:]
        if rest:
            channel.sendall(rest)
    except OSError as error:
        raise Closed from error


def receive(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message and its descriptors. Raises `Closed`; TimeoutError where the socket has a timeout."""
    fds = array.array("i")
    head = _exactly(channel, 4, fds)
    (length,) = struct.unpack("=I", head)
    if length > LIMIT:
        raise Closed
    try:
        message = json.loads(_exactly(channel, length, fds))
    except (ValueError, RecursionError):
        raise Closed from None
    if not isinstance(message, dict):
        raise Closed
    return message, list(fds)


def _exactly(channel: socket.socket, count: int, fds: array.array[int]) -> bytes:
    data = b""
    while len(data) < count:
        try:
            part, ancillary, _flags, _address = channel.recvmsg(count - len(data), socket.CMSG_SPACE(4 * _MOST_FDS))
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed from error
        if not part:
            raise Closed
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        data += part
    return data


def blob(content: bytes) -> int:
    """A descriptor of anonymous memory that holds `content`, at its start."""
    fd = os.memfd_create("evo", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
