"""The static profile of a GPU kernel: what its launches and its machine code say before anything is timed."""

from __future__ import annotations

from typing import Any

from archive.kernel import Kernel
from archive.tunables import Value
from fitness.problem import Problem
from fitness.targets.tiles import tile_elements

__all__ = ["REGISTERS", "hosted_profile", "occupancy", "profile"]

WARPS, REGISTERS, SHARED, BLOCKS = 64, 65536, 228 << 10, 32
"""Of one multiprocessor of compute capability 9.0."""
RESERVED_SHARED = 1 << 10


def profile(facts: dict[str, Any], kernel: Kernel, problem: Problem | None) -> dict[str, Value]:
    """Flat facts about the launches on the problem's first shape, of the kernel with the most programs:

    * `kernels`: launches a call; `programs`: blocks of the grid; `elements_per_program`: elements of the largest argument per block;
    * `warps`, `stages`, `registers` (a thread), `spills` (local memory instructions), `shared_bytes`, `occupancy` (0 … 1, by resources);
    * `memory_pattern`, `compute_pattern`, `load_bytes`, `store_bytes`, `atomics`, `instructions` (see `fitness.gpu.sass`);
    * `planned`: whether the device gets machine code and a list of launches, or has to be lent the file's host code (`fitness.gpu.plan`);
    * `tile_elements`, `working_set`, `tunable.NAME` as for every target.

    Where nothing could read the machine code (no cuobjdump), patterns are `unknown`, and spills and counts are left out.
    """
    launches, kernels = facts["launches"][0], facts["kernels"]
    main = max(range(len(launches)), key=lambda i: launches[i]["grid"][0] * launches[i]["grid"][1] * launches[i]["grid"][2])
    launch, code = launches[main], kernels[main] if main < len(kernels) else {}
    programs = launch["grid"][0] * launch["grid"][1] * launch["grid"][2]
    elements = 0
    if problem is not None:
        elements = max(argument.elements(problem.shapes[0]) for argument in (*problem.inputs, *problem.outputs))
    registers, warps, shared = int(code.get("registers", 0)), int(launch["num_warps"]), int(launch["shared"])
    found: dict[str, Value] = {
        "kernels": len(launches),
        "programs": programs,
        "elements_per_program": max(1, elements // max(1, programs)),
        "warps": warps,
        "stages": int(launch["num_stages"]),
        "registers": registers,
        "shared_bytes": shared,
        "occupancy": occupancy(registers, warps, shared),
    }
    found |= _read_from(code)
    found["planned"] = not facts.get("why_no_plan")
    found["tile_elements"] = tile_elements(kernel.values)
    found["working_set"] = problem.footprint(problem.shapes[0]) if problem is not None else 0
    return found | {f"tunable.{name}": value for name, value in kernel.values.items()}


def hosted_profile(code: dict[str, Any], kernel: Kernel, problem: Problem | None) -> dict[str, Value]:
    """The same facts about a file whose launches are not known before it runs: of all its machine code, with THREADS (a tunable; 256
    without it) for the block, and nothing about grids."""
    threads = kernel.values.get("THREADS", 256)
    warps, registers, shared = max(1, int(threads) // 32), int(code.get("registers", 0)), int(code.get("static_shared", 0))
    found: dict[str, Value] = {
        "kernels": 0, "programs": 0, "elements_per_program": 0, "warps": warps, "stages": 0, "registers": registers,
        "shared_bytes": shared, "occupancy": occupancy(registers, warps, shared),
    }  # fmt: skip
    found |= _read_from(code)
    found["planned"] = False
    found["tile_elements"] = tile_elements(kernel.values)
    found["working_set"] = problem.footprint(problem.shapes[0]) if problem is not None else 0
    return found | {f"tunable.{name}": value for name, value in kernel.values.items()}


def _read_from(code: dict[str, Any]) -> dict[str, Value]:
    """What a disassembly says."""
    found: dict[str, Value] = {name: code.get(name, "unknown") for name in ("memory_pattern", "compute_pattern")}
    found |= {name: code[name] for name in ("load_bytes", "store_bytes", "atomics", "barriers", "instructions") if name in code}
    return found | ({"spills": int(code["spill_instructions"])} if "spill_instructions" in code else {})


def occupancy(registers: int, warps: int, shared: int) -> float:
    """Warps that fit on a multiprocessor at once, as a share of the most it can hold."""
    if warps < 1:
        return 0.0
    a_warp = -(-max(1, registers) * 32 // 256) * 256
    by_registers = REGISTERS // (a_warp * warps)
    by_shared = SHARED // (shared + RESERVED_SHARED) if shared else BLOCKS
    return min(WARPS // warps, by_registers, by_shared, BLOCKS) * warps / WARPS
