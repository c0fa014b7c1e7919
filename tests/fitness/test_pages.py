"""Huge pages under shared memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fitness.pages import HUGE, Mapping, collapse, collapses
from fitness.problem import Problem
from fitness.runner import MOAT
from fitness.slots import Slot

asked = pytest.mark.skipif(not collapses(), reason="this system makes no huge pages of shared memory when asked")


@pytest.fixture
def file() -> Iterator[int]:
    fd = os.memfd_create("pages")
    os.ftruncate(fd, 3 * HUGE + 8192)
    yield fd
    os.close(fd)


def huge_bytes(address: int) -> int:
    """Of the mapping at `address`: bytes that lie in huge pages, as this process sees them."""
    maps = Path("/proc/self/smaps").read_text()
    return 1024 * int(re.findall(r"ShmemPmdMapped:\s+(\d+)", maps[maps.index(f"{address:x}-") :])[0])


@asked
def test_a_shared_file_keeps_what_it_holds_in_whole_huge_pages_and_a_rest_in_small_ones(file: int) -> None:
    os.pwrite(file, b"first", 0)
    os.pwrite(file, b"last", 3 * HUGE + 8188)
    assert collapse(file, 3 * HUGE + 8192)
    mapping = Mapping(file, 3 * HUGE + 8192)
    try:
        assert mapping.address % HUGE == 0 and huge_bytes(mapping.address) == 3 * HUGE
    finally:
        mapping.close()
    assert os.pread(file, 5, 0) == b"first" and os.pread(file, 4, 3 * HUGE + 8188) == b"last"


def test_what_is_smaller_than_a_huge_page_is_left_as_it_is(file: int) -> None:
    assert not collapse(file, HUGE - 1)


def test_a_file_that_may_not_be_written_is_left_as_it_is(file: int) -> None:
    fd = os.open(f"/proc/self/fd/{file}", os.O_RDONLY)
    try:
        assert not collapse(fd, 2 * HUGE)
        with pytest.raises(OSError):
            Mapping(fd, 2 * HUGE)
    finally:
        os.close(fd)


@asked
def test_a_runner_maps_the_arguments_of_a_kernel_in_huge_pages() -> None:
    slot = Slot(Problem.load("softmax"), {"rows": 1024, "cols": 2048})
    try:
        for buffer in slot.buffers:
            mapping = Mapping(buffer.fd, buffer.length, writable=buffer.role != "input", moat=MOAT)
            assert mapping.address % HUGE == 0 and huge_bytes(mapping.address) >= buffer.nbytes - HUGE
            mapping.close()
    finally:
        slot.close()
