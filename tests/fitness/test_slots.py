"""Slots: poisoned, guarded shared memory that a runner can only use as intended."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import hostile_arena as arena
import numpy as np
import pytest

from fitness.problem import Problem
from fitness.slot_pool import SlotPool
from fitness.slots import ALIGNMENT, Slot


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    return arena.toy_problem(tmp_path)


@pytest.fixture
def slot(problem: Problem) -> Slot:
    return Slot(problem, {"n": 1001}, workspace=1000)


def test_inputs_are_what_was_filled_and_outputs_start_poisoned(slot: Slot) -> None:
    x = np.arange(1001, dtype=np.float32)
    slot.fill([x])
    assert np.array_equal(slot.inputs[0], x)
    assert np.isnan(slot.outputs[0]).all()


def test_poison_leaves_nothing_of_an_earlier_answer(slot: Slot) -> None:
    slot.outputs[0][:] = 3.0
    slot.poison()
    assert np.isnan(slot.outputs[0]).all()


def test_a_wrong_shape_or_dtype_is_refused_by_name(slot: Slot) -> None:
    with pytest.raises(ValueError, match="x: expected float32"):
        slot.fill([np.zeros(1000, np.float32)])
    with pytest.raises(ValueError, match="x: expected float32"):
        slot.fill([np.zeros(1001, np.float64)])
    with pytest.raises(ValueError, match="takes 1 inputs"):
        slot.fill([])


def test_payloads_are_aligned_and_do_not_share_their_address_modulo_the_page(slot: Slot) -> None:
    offsets = [buffer.offset for buffer in slot.buffers]
    assert all(offset % ALIGNMENT == 0 for offset in offsets)
    assert len({offset % mmap.PAGESIZE for offset in offsets}) == len(offsets)


@pytest.mark.parametrize(("distance", "side"), [(1, "after"), (4000, "after"), (-1, "before"), (-700, "before")])
def test_a_byte_beside_the_output_is_noticed_with_side_and_distance(slot: Slot, distance: int, side: str) -> None:
    buffer = slot.buffers[1]
    whole = np.frombuffer(mmap.mmap(buffer.fd, buffer.length), dtype=np.uint8)
    place = buffer.offset + (buffer.nbytes + distance - 1 if distance > 0 else distance)
    whole[place] ^= 0xFF
    found = slot.guards_broken()
    assert found is not None
    assert (found.reason, found.details["argument"], found.details["side"]) == ("guard_zone", "y", side)
    assert found.details["distance_bytes"] == abs(distance)
    assert slot.guards_broken() is None


def test_an_input_cannot_be_mapped_writable_by_whoever_gets_its_descriptor(slot: Slot) -> None:
    buffer = slot.buffers[0]
    with pytest.raises(PermissionError):
        mmap.mmap(buffer.fd, buffer.length, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    again = os.open(f"/proc/self/fd/{buffer.fd}", os.O_RDWR)
    try:
        with pytest.raises(PermissionError):
            mmap.mmap(again, buffer.length, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        with pytest.raises(PermissionError):
            os.pwrite(again, b"x", buffer.offset)
    finally:
        os.close(again)
    slot.fill([np.ones(1001, np.float32)])
    assert slot.inputs[0].sum() == 1001


def test_no_buffer_can_be_cut_or_grown(slot: Slot) -> None:
    for buffer in slot.buffers:
        for length in (0, buffer.length * 2):
            with pytest.raises(OSError):
                os.ftruncate(buffer.fd, length)


def test_outputs_that_change_after_the_call_are_a_late_write(slot: Slot) -> None:
    slot.outputs[0][:] = 1.0
    slot.remember(whole=False)
    assert slot.late_write() is None
    slot.outputs[0][:] = 2.0
    slot.poison()
    found = slot.late_write()
    assert found is not None and found.reason == "late_write" and found.details["argument"] == "y"
    assert slot.late_write() is None


@pytest.mark.parametrize("place", [0, 1, 2002, 4003])
def test_a_single_byte_written_late_is_noticed_wherever_it_lies(slot: Slot, place: int) -> None:
    slot.outputs[0][:] = 1.0
    slot.remember(whole=False)
    slot.outputs[0].view(np.uint8).reshape(-1)[place] ^= 1
    slot.poison()
    found = slot.late_write()
    assert found is not None and found.reason == "late_write"


def test_where_nothing_forbids_another_process_the_last_byte_of_a_large_output_counts(problem: Problem) -> None:
    """A late write that spares every sampled word: noticed once the output is poisoned for the next call."""
    slot = Slot(problem, {"n": 1 << 18})
    for whole in (True, False):
        slot.remember(whole=whole)
        sampled = set(slot.buffers[1].fingerprint.positions.tolist())
        place = 8 * next(word for word in range(1 << 17) if word not in sampled)
        slot.outputs[0].view(np.uint8)[place] ^= 0x80
        assert slot.late_write() is None
        slot.poison()
        assert (slot.late_write() is not None) is whole
    slot.close()


def test_a_late_write_of_a_stretch_is_noticed_in_an_output_of_any_size(problem: Problem) -> None:
    slot = Slot(problem, {"n": 1 << 18})
    payload = slot.outputs[0].view(np.uint8)
    stretch = 2 * payload.size // 512
    for start in (0, 12_345, payload.size - stretch):
        slot.remember(whole=False)
        payload[start : start + stretch] ^= 1
        found = slot.late_write()
        assert found is not None and found.reason == "late_write"
    slot.close()


def test_poisoning_and_filling_is_no_late_write(slot: Slot) -> None:
    slot.outputs[0][:] = 1.0
    slot.remember(whole=False)
    slot.poison()
    slot.fill([np.ones(1001, np.float32)])
    assert slot.late_write() is None


def test_closing_gives_descriptors_and_memory_back(problem: Problem) -> None:
    before = arena.descriptors()
    for _ in range(20):
        slot = Slot(problem, {"n": 1 << 20})
        slot.close()
        slot.close()
    assert arena.descriptors() == before


def test_concealing_blanks_what_was_in_it_and_gives_back_only_what_is_to_come(slot: Slot) -> None:
    x = np.arange(1001, dtype=np.float32)
    slot.fill([x])
    hidden = slot.conceal()
    assert hidden is not None and not slot.inputs[0].any() and not slot.pending
    slot.reveal(hidden)
    assert np.array_equal(slot.inputs[0], x) and slot.pending
    slot.pending = False  # as after its call
    assert slot.conceal() is None and not slot.inputs[0].any()


def test_no_lane_always_has_the_same_slots(problem: Problem) -> None:
    """Some memory is slower than other memory: who has it changes from process to process of a certification."""
    pool, sizes = SlotPool(problem), problem.shapes[0]
    first = set()
    for _ in range(12):
        pool.deal(sizes, 3)
        lanes = [pool.rotation(sizes, 0) for _ in range(3)]
        assert len({slot for slots in lanes for slot in slots}) == 6
        first.add(lanes[0][0])
        for slots in lanes:
            pool.release(slots)
    pool.close()
    assert len(first) > 1
