"""The grid archive's own: cells by name, sparse, as many as the axes' bins multiply to."""

from __future__ import annotations

from archive.candidate import AddStatus, Candidate, Proposal
from archive.descriptors import Categorical, Descriptors, Log2
from archive.evaluation import Evaluation, Outcome
from archive.grid import GridArchive
from archive.kernel import Kernel

KERNEL = Kernel("cpp", "#define UNROLL 2  // evo: {1, 2, 4}\n")


def offered(archive: GridArchive, number: int, objective: float, unroll: int, **profile: bool | int) -> AddStatus:
    kernel = KERNEL.with_values({"UNROLL": unroll})
    found = Evaluation(kernel.id, Outcome.OK, objective=objective, interval=(objective, objective), profile=profile)
    return archive.offer(Candidate(Proposal(number, "mutate"), kernel, found)).status


def axes() -> Descriptors:
    return Descriptors([Categorical("nt", "nt", values=(False, True), out_of_range="drop"), Log2("unroll", "tunable.UNROLL", 1, 4)])


def test_cells_combine_measured_facts_and_tunables() -> None:
    archive = GridArchive(axes())
    assert archive.cells == 6
    assert offered(archive, 0, 0.5, 2, nt=True) is AddStatus.NEW
    assert offered(archive, 1, 0.1, 2, nt=False) is AddStatus.NEW
    assert offered(archive, 2, 0.1, 4, nt=True) is AddStatus.NEW
    assert [cell for cell, _ in archive.items()] == [(1, 1), (0, 1), (1, 2)]
    assert archive.coverage == 3 / 6


def test_a_kernel_without_the_fact_that_an_axis_drops_by_stays_outside() -> None:
    archive = GridArchive(axes())
    assert offered(archive, 0, 0.5, 2) is AddStatus.REJECT
    assert len(archive) == 0


def test_estimates_without_samples_contest_within_the_noise_between_sittings_only() -> None:
    archive = GridArchive(axes())
    offered(archive, 0, 0.5, 2, nt=True)
    assert offered(archive, 1, 0.505, 2, nt=True) is AddStatus.CONTEST
    assert offered(archive, 2, 0.52, 2, nt=True) is AddStatus.IMPROVE


def test_the_frame_labels_cells_by_axis() -> None:
    archive = GridArchive(axes())
    offered(archive, 0, 0.5, 2, nt=True)
    row = archive.frame().loc[0]
    assert (row["nt"], row["unroll"], row["cell"]) == ("True", "2", (1, 1))
