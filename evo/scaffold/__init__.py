"""From a NumPy or torch function to a problem folder: `evo new`.

subject    the user's function and what its text needs of its file
signature  what its arguments are: dtypes, shapes over named sizes, roles; tried, not assumed
tracing    its computation as a graph, when it consists of elementwise operations and reductions over one axis
lowering   the plain C++ kernel of such a graph
folder     problem.py, baseline.py, seed.cpp and a config, as texts
"""

from __future__ import annotations

__all__: list[str] = []
