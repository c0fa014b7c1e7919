"""What a search ends with: the certified figure first, then what it stands on and where everything lies."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from evo.cli.output import facts, say, section, table
from evo.live import by_count, duration
from evo.reading import DATABASE
from fitness.shares import told

if TYPE_CHECKING:
    from evo.summary import Summary
    from fitness.protocol import Certificate, Estimate

__all__ = ["certificate_facts", "from_here", "print_certificate_shapes", "print_summary", "summary_facts"]


def print_summary(summary: Summary) -> None:
    section(f"{summary.run}: {summary.evaluations} evaluations in {duration(summary.seconds)}, ended by {summary.stopped_by}")
    facts(summary_facts(summary))
    if summary.certificate is not None and summary.certificate.shapes:
        say()
        print_certificate_shapes(summary.certificate)


def summary_facts(summary: Summary) -> dict[str, str]:
    """Label → text, in the order in which a reader wants them."""
    rows: dict[str, str] = {}
    if summary.certificate is not None:
        rows |= certificate_facts(summary.certificate)
    elif summary.best is not None:
        rows["certified"] = "not certified (the run has not finished, or certification was not possible)"
    if summary.speedup is not None:
        interval = f" (95 %: {summary.interval[0]:.2f}× to {summary.interval[1]:.2f}×)" if summary.interval else ""
        rows["in the search"] = f"{summary.speedup:.2f}× over the baseline{interval}, candidate {summary.best}"
    else:
        rows["best"] = "no kernel was right and timed" if summary.outcomes else "none yet: nothing was evaluated"
    rows["archive"] = f"{summary.cells} cells filled, {100 * summary.coverage:.0f} % of all"
    failed = {outcome: count for outcome, count in summary.outcomes.items() if outcome != "ok" and count}
    rows["failures"] = ", ".join(f"{outcome} {count}" for outcome, count in by_count(failed)) or "none"
    if summary.duplicates:
        rows["duplicates"] = f"{summary.duplicates} proposals were already known and cost nothing"
    if summary.source is not None:
        rows["source"] = from_here(summary.source)
    if summary.picture is not None:
        rows["picture"] = from_here(summary.picture)
    rows["lineage"] = f'sqlite3 {shlex.quote(from_here(summary.path / DATABASE))} "select * from best"'
    if summary.message:
        rows["note"] = summary.message
    if summary.resume:
        rows["resume"] = summary.resume
    return rows


def certificate_facts(certificate: Certificate) -> dict[str, str]:
    """The certified figures, the strongest baseline first, or why there are none."""
    if not certificate.ok:
        reasons = "\n".join(f"{finding.reason}: {finding.message}" for finding in certificate.diagnostics) or "no reason was recorded"
        return {"certified": f"FAILED\n{reasons}"}
    order = sorted(certificate.against, key=lambda name: (name != certificate.strongest, name == "seed", name))
    lines = [f"{estimate(certificate.against[name])} {over(name)}" for name in order]
    rows = {"certified": "\n".join(lines)}
    share = told(certificate.roofline_share, certificate.shares, certificate.roofline)
    if share:
        rows["reached"] = f"{share}, measured beside it"
    took = duration(certificate.seconds)
    rows["measured"] = "looked up in the recording"
    if certificate.processes:
        rows["measured"] = f"in {certificate.processes} fresh processes, on shapes and seeds the search never saw, {took}"
    return rows


def estimate(value: Estimate) -> str:
    return f"{value.value:.2f}× (95 % prediction interval {value.low:.2f}× to {value.high:.2f}×)"


def over(baseline: str) -> str:
    return {"numpy": "over NumPy", "seed": "over the plain seed"}.get(baseline, f"over {baseline}")


def print_certificate_shapes(certificate: Certificate) -> None:
    """One row per shape: times, bandwidth or FLOP rate, share of the ceiling that binds the problem."""
    roofline = certificate.roofline
    names = list(certificate.shapes[0].baselines)
    rows = []
    for shape in certificate.shapes:
        reached = shape.shares.get(roofline, shape.roofline_share)
        share = "" if reached is None else f"{100 * reached:.0f} %"
        rates = (f"{amount / shape.seconds / 1e9:.1f}" if amount else "" for amount in (shape.bytes_moved, shape.flops))
        others = (milliseconds(shape.baselines[name]) if name in shape.baselines else "" for name in names)
        rows.append((shape.shape, milliseconds(shape.seconds), *others, *rates, share))
    columns = ("shape", "ms", *(f"{name} ms" for name in names), "GB/s", "GFLOP/s", f"of {roofline or 'roofline'}")
    said = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    shown = [columns[index] for index in said]
    table(shown, [[row[index] for index in said] for row in rows], right=shown[1:])


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.4g}"


def from_here(path: Path) -> str:
    """`path` relative to the working folder where that is shorter."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
