"""Certificates in the lineage: stored whole, read back whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from archive.evaluation import Diagnostic
from archive.lineage import Lineage
from fitness.protocol import Certificate, CertifiedShape, Estimate

__all__ = ["load_certificate", "store_certificate"]


def store_certificate(lineage: Lineage, candidate: int, certificate: Certificate) -> None:
    """Keeps a certification of `candidate`, good or bad."""
    strongest = certificate.against.get(certificate.strongest)
    lineage.certificate(
        candidate,
        certificate.kernel_id,
        certificate.ok,
        facts=asdict(certificate),
        strongest=certificate.strongest,
        speedup=None if strongest is None else (strongest.value, strongest.low, strongest.high),
        roofline_share=certificate.roofline_share,
        environment=certificate.environment,
        seconds=certificate.seconds,
    )


def load_certificate(lineage: Lineage, kernel_id: str) -> Certificate | None:
    """The newest certificate of a kernel in this run."""
    rows = lineage.select("SELECT facts FROM certificates WHERE run = ? AND kernel = ? ORDER BY id DESC LIMIT 1", (lineage.run, kernel_id))
    return _certificate(json.loads(rows[0]["facts"])) if rows else None


def _certificate(facts: dict[str, Any]) -> Certificate:
    parts = {
        "against": {name: Estimate(**estimate) for name, estimate in facts["against"].items()},
        "shapes": tuple(CertifiedShape(**shape) for shape in facts["shapes"]),
        "diagnostics": tuple(Diagnostic(**diagnostic) for diagnostic in facts["diagnostics"]),
    }
    return Certificate(**{**facts, **parts})
