"""A suite's table: a row per run, from what the run's own folder says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evo.budget import StopReason
from evo.errors import as_user_error
from evo.facts import Estimated
from evo.reading import DATABASE, RunReader, open_run
from evo.suites.energy import EnergyLog

__all__ = ["Row", "as_csv", "as_json", "as_markdown", "is_final", "read_row"]

SEED = "seed"
CEILINGS = ("plain copy", "streaming copy", "memory bandwidth", "random gather", "FMA peak", "tensor-core peak")
"""As certificates name them (`fitness.shares`)."""
COPIES = CEILINGS[:2]


@dataclass(frozen=True, slots=True)
class Row:
    """One problem. Milliseconds are per call, geometric means over the held-out shapes, measured interleaved in the certification."""

    name: str
    problem: str = ""
    state: str = "waiting"
    """`waiting`, `running`, `failed`, `uncertified`, or `certified`."""
    evolved_ms: float | None = None
    seed_ms: float | None = None
    baselines_ms: Mapping[str, float] = field(default_factory=dict)
    strongest: str = ""
    speedup: Estimated | None = None
    """Over the strongest baseline, with its 95 % prediction interval."""
    over_seed: Estimated | None = None
    roofline_share: float | None = None
    """Of the whole roofline: the fastest way to move the bytes, or the multiply-adds."""
    evaluations: int = 0
    seconds: float = 0.0
    """Wall time of the whole run: search, seeds and certification."""
    joules: float | None = None
    device: str = ""
    message: str = ""
    """Why there is no figure."""
    roofline: str = ""
    """The ceiling that the kernel is held against; one of `shares`."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of every ceiling, by its name."""

    @property
    def share(self) -> float | None:
        """Of the ceiling named `roofline`."""
        return self.shares.get(self.roofline, self.roofline_share)


def is_final(state: str) -> bool:
    """Whether a run's state (`RunFacts.state`) is an end of its own, so that there is nothing to resume."""
    return any(reason.value == state and reason.final for reason in StopReason)


def read_row(name: str, folder: Path, failure: str = "") -> Row:
    """The row of the run in `folder`, in whatever state that is."""
    if not (folder / DATABASE).is_file():
        return Row(name, state="failed" if failure else "waiting", message=failure)
    try:
        with open_run(folder) as reader:
            return _row(name, reader, failure)
    except Exception as error:
        known = as_user_error(error)
        if known is None:
            raise
        return Row(name, state="failed", message=known.what)


def _row(name: str, reader: RunReader, failure: str) -> Row:
    facts = reader.facts()
    sessions = reader.lineage.select("SELECT sum(seconds) AS seconds FROM sessions WHERE run = ?", (reader.record.id,))
    common: dict[str, Any] = {
        "name": name, "problem": Path(facts.problem).name, "evaluations": facts.evaluations,
        "seconds": sessions[0]["seconds"] or facts.seconds, "joules": EnergyLog(reader.folder).total(),
    }  # fmt: skip
    certificate = _certificate(reader, "" if facts.best is None else facts.best.kernel)
    if certificate is None or not certificate["ok"]:
        ended = is_final(facts.state)
        state = "failed" if failure else "running" if facts.state == "running" else "uncertified" if ended else "waiting"
        return Row(**common, state=state, message=failure or ("" if certificate is None else "the winner failed its certification"))
    shapes = certificate["shapes"]
    if not shapes:  # a recorded space: looked up, nothing was called
        return Row(
            **common, state="certified", strongest=certificate["strongest"], speedup=_estimate(certificate, certificate["strongest"])
        )
    names = [each for each in certificate["against"] if all(each in shape["baselines"] for shape in shapes)]
    times = {each: _mean_ms([shape["baselines"][each] for shape in shapes]) for each in names}
    environment = next((e for e in reader.lineage.environments() if e.id == certificate["environment"]), None)
    device = {} if environment is None else environment.facts.get("device", {})
    return Row(
        **common,
        state="certified",
        evolved_ms=_mean_ms([shape["seconds"] for shape in shapes]),
        seed_ms=times.get(SEED),
        baselines_ms={each: value for each, value in times.items() if each != SEED},
        strongest=certificate["strongest"],
        speedup=_estimate(certificate, certificate["strongest"]),
        over_seed=_estimate(certificate, SEED),
        roofline_share=certificate["roofline_share"],
        roofline=certificate.get("roofline", ""),
        shares=certificate.get("shares", {}),
        device=str(device.get("name", "")) if isinstance(device, Mapping) else "",
    )


def _certificate(reader: RunReader, kernel: str) -> dict[str, Any] | None:
    rows = reader.lineage.select(
        "SELECT facts FROM certificates WHERE run = ? AND kernel = ? ORDER BY id DESC LIMIT 1", (reader.record.id, kernel)
    )
    return json.loads(rows[0]["facts"]) if rows else None


def _estimate(certificate: Mapping[str, Any], name: str) -> Estimated | None:
    found = certificate["against"].get(name)
    return None if found is None else Estimated(found["value"], found["low"], found["high"])


def _mean_ms(seconds: Sequence[float]) -> float:
    return 1e3 * float(np.exp(np.mean(np.log(seconds))))


# ── forms ──


def columns(rows: Sequence[Row]) -> list[str]:
    """Headings; a column that no row has anything for is left out."""
    names = sorted({name for row in rows for name in row.baselines_ms}, key=lambda name: (name != "numpy", name))
    shown = ["problem", "seed ms", *(f"{name} ms" for name in names), "evolved ms", "speedup", "95 % interval", "over", "over seed"]
    shown += [f"of {CEILINGS[0]}"] if any(CEILINGS[0] in row.shares for row in rows) else []
    shown += ["of roofline", *(["roofline"] if any(row.roofline for row in rows) else []), "evaluations", "seconds"]
    return [*shown, "joules"] if any(row.joules is not None for row in rows) else shown


def cells(row: Row, shown: Sequence[str]) -> list[str]:
    """The row's texts for these headings."""
    known = {
        "problem": row.name,
        "seed ms": _digits(row.seed_ms),
        "evolved ms": _digits(row.evolved_ms),
        "speedup": "" if row.speedup is None else f"{row.speedup.value:.2f}×",
        "95 % interval": row.message or row.state if row.speedup is None else f"{row.speedup.low:.2f}× to {row.speedup.high:.2f}×",
        "over": row.strongest,
        "over seed": "" if row.over_seed is None else f"{row.over_seed.value:.2f}×",
        "of roofline": "" if row.share is None else f"{row.share:.0%}",
        "roofline": row.roofline,
        "evaluations": str(row.evaluations or ""),
        "seconds": f"{row.seconds:.0f}" if row.seconds else "",
        "joules": "" if row.joules is None else f"{row.joules:.0f}",
    } | {f"{name} ms": _digits(value) for name, value in row.baselines_ms.items()}
    if row.roofline in COPIES:  # of no interest where another ceiling counts
        known |= {f"of {name}": f"{value:.0%}" for name, value in row.shares.items()}
    return [known.get(heading, "") for heading in shown]


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def as_markdown(rows: Sequence[Row]) -> str:
    shown = columns(rows)
    lines = [shown, ["---", *["---:"] * (len(shown) - 1)], *(cells(row, shown) for row in rows)]
    return "".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |\n" for line in lines)


def as_csv(rows: Sequence[Row]) -> str:
    """Plain numbers, one line a problem."""
    names = sorted({name for row in rows for name in row.baselines_ms})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    baselines = [f"{name}_ms" for name in names]
    results = ("evolved_ms", "strongest", "speedup", "speedup_low", "speedup_high", "over_seed", "roofline_share", "roofline")
    shares = [f"share_{name.replace(' ', '_').lower()}" for name in CEILINGS]
    costs = ("evaluations", "seconds", "joules", "device", "message")
    writer.writerow(["name", "problem", "state", "seed_ms", *baselines, *results, *shares, *costs])
    for row in rows:
        speedup = [None] * 3 if row.speedup is None else [row.speedup.value, row.speedup.low, row.speedup.high]
        times = [row.seed_ms, *(row.baselines_ms.get(name) for name in names), row.evolved_ms]
        over_seed = None if row.over_seed is None else row.over_seed.value
        rest = [over_seed, row.roofline_share, row.roofline, *(row.shares.get(name) for name in CEILINGS)]
        rest += [row.evaluations, round(row.seconds, 1), row.joules, row.device, row.message]
        writer.writerow([row.name, row.problem, row.state, *times, row.strongest, *speedup, *rest])
    return text.getvalue()


def as_json(rows: Sequence[Row], origin: Mapping[str, object]) -> str:
    """The rows and where they come from (`origin`: command, time, machine, version)."""
    return json.dumps({"origin": dict(origin), "rows": [asdict(row) for row in rows]}, indent=1, default=str) + "\n"
