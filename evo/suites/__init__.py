"""Many problems in one go, one table and one picture: `evo suite`.

config   which runs, and what they have in common
energy   joules, where the host tells them
table    a row per run, from what the run's own folder says; Markdown, CSV, JSON
runner   searches what is not finished yet, one run after the other
"""

from __future__ import annotations

__all__: list[str] = []
