"""Messages between referee and GPU children."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from fitness.gpu import wire


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def test_a_message_arrives_with_its_descriptors(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    fd = wire.blob(b"content")
    wire.send(ours, {"op": "load", "text": "x" * 100_000}, [fd])
    os.close(fd)
    message, fds = wire.receive(theirs)
    assert message["op"] == "load"
    assert len(message["text"]) == 100_000
    assert os.read(fds[0], 100) == b"content"
    os.close(fds[0])


def test_the_end_of_the_other_side_is_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.close()
    with pytest.raises(wire.Closed):
        wire.receive(theirs)


@pytest.mark.parametrize("data", [struct.pack("=I", wire.LIMIT + 1), struct.pack("=I", 3) + b"{x}", struct.pack("=I", 2) + b"[]"])
def test_nonsense_is_treated_like_an_end(pair: tuple[socket.socket, socket.socket], data: bytes) -> None:
    ours, theirs = pair
    ours.sendall(data)
    with pytest.raises(wire.Closed):
        wire.receive(theirs)


def test_silence_is_a_timeout(pair: tuple[socket.socket, socket.socket]) -> None:
    _ours, theirs = pair
    theirs.settimeout(0.05)
    with pytest.raises(TimeoutError):
        wire.receive(theirs)
