"""What a run found, as something to build, install and call: `evo export`.

choice      which kernels: the certified winner, and specialists for shapes that another elite is faster on
envelope    the sizes that a kernel was verified for, as a rule that a dispatcher can check
alignment   the pointers that a kernel can stand, tried
provenance  where it came from and what was certified
package     the folder: C header and sources, build line, Python package, torch operator, test, provenance
"""

from __future__ import annotations

__all__: list[str] = []
