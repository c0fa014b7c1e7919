"""Fills an exported folder from templates: sources, binding, test, documents."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evo.config import Config
from evo.export.choice import Specialist
from evo.export.envelope import Envelope, envelope_of
from evo.export.provenance import provenance
from evo.export.recipe import Recipe
from evo.reading import RunReader
from fitness.problem import Argument, Problem, ProblemError, Sizes, shape_label
from fitness.shares import told

__all__ = ["Writer"]

TEMPLATES = Path(__file__).with_name("templates")
C_TYPES = {"float32": "float", "float64": "double", "float16": "_Float16", "bool": "bool"}
MOST_TRIED = 96 << 20
"""Bytes of arguments of the largest shape that the package's own test computes references for."""
VERSION = "1.0"


class Writer:
    """Fills the folder from templates."""

    def __init__(self, problem: Problem, module: str, chosen: Sequence[Specialist], made: Recipe, place: Path) -> None:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        self.problem, self.module, self.chosen, self.recipe, self.place = problem, module, chosen, made, place
        self.envelope: Envelope = envelope_of(problem)
        self.rule = self.envelope.rule()
        self.what = problem.specification.strip().splitlines()[0].rstrip(".").replace('"', "'").replace("\\", "")
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
        )

    def _render(self, template: str, file: str, **values: Any) -> None:
        path = self.place / file
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {"module": self.module, "name": self.problem.name, "what": self.what, "rule": self.rule}
        path.write_text(self._environment.get_template(template).render(**known, **values), encoding="utf-8")

    def write(self, alignment: int) -> None:
        """Everything that is built or called."""
        problem, module = self.problem, self.module
        inputs = [argument.name for argument in problem.inputs]
        table = [f"{a.name}: {a.dtype}[{', '.join(map(str, a.dims))}]" for a in (*problem.inputs, *problem.outputs)]
        source = self.place / module / "csrc"
        source.mkdir(parents=True, exist_ok=True)
        for unit in self.recipe.units:
            (source / unit.file).write_text(unit.source, encoding="utf-8")
            (source / f"{unit.symbol}.map").write_text(unit.exports, encoding="utf-8")
        pointers = [f"const {_c_type(a)}* {a.name}" for a in problem.inputs] + [f"{_c_type(a)}* {a.name}" for a in problem.outputs]
        signature = {"pointers": ", ".join(pointers), "sizes": ", ".join(f"int64_t {size}" for size in problem.sizes)}
        self._render("header.h.j2", f"{module}/csrc/{module}.h", table=table, alignment=alignment, **signature)
        self._render(
            "dispatch.cpp.j2", f"{module}/csrc/dispatch.cpp", kernels=[self._kernel(index) for index in range(len(self.chosen))],
            names=problem.sizes, arguments=[a.name for a in (*problem.inputs, *problem.outputs)], conditions=self._conditions(),
            homes=self._homes(), **signature,
        )  # fmt: skip
        self._render("init.py.j2", f"{module}/__init__.py", inputs=", ".join(inputs), table="\n".join(f"    {line}" for line in table))
        self._render("main.py.j2", f"{module}/__main__.py")
        self._render("binding.py.j2", f"{module}/binding.py")
        single = len(problem.outputs) == 1
        returns = "torch.Tensor" if single else f"tuple[{', '.join(['torch.Tensor'] * len(problem.outputs))}]"
        tensors = ", ".join(f"{name}: torch.Tensor" for name in inputs)
        self._render(
            "torch_op.py.j2",
            f"{module}/torch_op.py",
            inputs=", ".join(inputs),
            tensors=tensors,
            returns=returns,
            single=single,
            first=inputs[0],
        )
        shutil.copyfile(problem.folder / "problem.py", self.place / module / "_problem.py")
        shutil.copyfile(problem.folder / "baseline.py", self.place / module / "_baseline.py")
        roundoff, limit = _limit(problem)
        self._render("test.py.j2", f"tests/test_{module}.py", unit=roundoff, limit=limit)
        self._render("backend.py.j2", "evo_build.py")
        self._render("pyproject.toml.j2", "pyproject.toml")
        self._json("build.json", self._build_facts())
        self._json(f"{module}/facts.json", self._facts(alignment))
        shell = self.recipe.shell(module)
        (self.place / "build.sh").write_text("\n".join(["#!/bin/sh", "set -eu", 'cd "$(dirname "$0")"', *shell, ""]), encoding="utf-8")

    def document(self, reader: RunReader, config: Config, alignment: int, reproduce: str) -> None:
        """README, provenance, and what reproduces the figures."""
        facts = provenance(reader, self.chosen, problem_version=self.problem.version, build=self._build_facts(), reproduce=reproduce)
        self._json("provenance.json", facts | {"verified_for": self.rule, "alignment": alignment})
        certificate = self.chosen[0].certificate
        shown = {"numpy": "NumPy", "seed": "the plain C++ seed"}
        order = sorted(certificate["against"], key=lambda name: (name != certificate["strongest"], name))
        environment = facts["environments"].get(certificate.get("environment"), {})
        share = told(certificate.get("roofline_share"), certificate.get("shares", {}), certificate.get("roofline", ""))
        problem = self.problem
        self._render(
            "readme.md.j2", "README.md",
            inputs=", ".join(a.name for a in problem.inputs), results=", ".join(a.name for a in problem.outputs),
            table="\n".join(f"- `{a.name}`: {a.dtype}[{', '.join(map(str, a.dims))}]" for a in (*problem.inputs, *problem.outputs)),
            certified=[{"name": shown.get(name, name), **certificate["against"][name]} for name in order],
            device=environment.get("device", {}).get("name", "the machine of provenance.json"),
            share=f", at {share}" if share else "", reproduce=reproduce,
        )  # fmt: skip
        self._reproduction(config)

    def _reproduction(self, config: Config) -> None:
        """A problem whose seed is the winner, and a config that verifies, times and certifies it and searches nothing."""
        folder = self.place / "reproduce" / self.problem.name
        ignored = shutil.ignore_patterns("__pycache__", "*.yaml")
        shutil.copytree(self.problem.folder, folder, ignore=ignored)
        seed = folder / "seed.cpp"
        if seed.exists():
            seed.rename(folder / "plain_seed.cpp")
        seed.write_text(self.chosen[0].kernel.source, encoding="utf-8")
        again = config.model_copy(
            update={
                "name": self.problem.name,
                "problem": f"./{self.problem.name}",
                "budget": config.budget.model_copy(update={"evaluations": 1}),
            }
        )
        (self.place / "reproduce" / f"{self.problem.name}.yaml").write_text(again.dump(), encoding="utf-8")

    # ── parts ──

    def _kernel(self, index: int) -> dict[str, Any]:
        one, unit = self.chosen[index], self.recipe.units[index]
        against = one.certificate["against"][one.certificate["strongest"]]
        certified = f"{against['value']:.2f}x over {one.certificate['strongest']}"
        return {"candidate": one.candidate, "symbol": unit.symbol, "workspace": unit.workspace, "certified": certified}

    def _conditions(self) -> str:
        envelope, problem = self.envelope, self.problem
        ranges = [f"{name} >= {envelope.low[name]} && {name} <= {envelope.high[name]}" for name in problem.sizes]
        parts = []
        for argument in (*problem.inputs, *problem.outputs):
            factors = [_c_expression(dim) for dim in argument.dims]
            parts.append(" * ".join([str(argument.nbytes({**envelope.low}) // argument.elements({**envelope.low})), *factors]))
        return " && ".join([*ranges, f"{' + '.join(parts)} <= INT64_C({envelope.footprint})"])

    def _homes(self) -> list[str]:
        shapes = {shape_label(sizes): sizes for sizes in self.problem.shapes}
        return [
            ", ".join([*(str(shapes[label][name]) for name in self.problem.sizes), str(index)])
            for index, one in enumerate(self.chosen)
            for label in one.homes
            if label in shapes
        ]

    def _build_facts(self) -> dict[str, Any]:
        requires = ["array-api-compat"] if "array_api_compat" in (self.problem.folder / "problem.py").read_text(encoding="utf-8") else []
        return {
            "module": self.module, "version": VERSION, "summary": self.what[:200], "requires": requires,
            "compiler": self.recipe.compiler, "compiler_version": self.recipe.version, "commands": self.recipe.commands,
        }  # fmt: skip

    def _facts(self, alignment: int) -> dict[str, Any]:
        problem = self.problem
        light = sorted(
            (s for s in (*problem.shapes, *problem.held_out_shapes) if problem.footprint(s) <= MOST_TRIED), key=problem.footprint
        )
        return {
            "name": problem.name,
            "library": self.module,
            "sizes": problem.sizes,
            "inputs": [_argument(argument) for argument in problem.inputs],
            "outputs": [_argument(argument) for argument in problem.outputs],
            "features": self.recipe.features,
            "alignment": alignment,
            "envelope": asdict(self.envelope),
            "tried": [dict(sizes) for sizes in (*problem.small_shapes, *light[:1])],
            "timed": [dict(sizes) for sizes in (*problem.shapes, *problem.held_out_shapes)],
            "outside": self._outside(),
        }

    def _outside(self) -> Sizes | None:
        """Sizes just beyond the verified ones that the reference can compute, small where possible."""
        import numpy as np

        from fitness.inputs import draw_inputs

        options = [{**self.problem.small_shapes[0], name: self.envelope.high[name] + 1} for name in self.problem.sizes]
        for sizes in sorted(options, key=self.problem.footprint):
            if self.problem.footprint(sizes) <= MOST_TRIED:
                try:
                    inputs = draw_inputs(self.problem, sizes, "normal", np.random.default_rng(0))
                    with np.errstate(all="ignore"):
                        results = self.problem.reference(*inputs)
                except Exception:  # such sizes mean nothing to this problem
                    continue
                if [np.shape(result) for result in results] == [argument.shape(sizes) for argument in self.problem.outputs]:
                    return sizes
        return None

    def _json(self, file: str, value: Any) -> None:
        path = self.place / file
        path.write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")


def _argument(argument: Argument) -> dict[str, Any]:
    facts = {"name": argument.name, "dtype": argument.dtype, "dims": argument.dims, "role": argument.role}
    return facts | {"below": argument.below, "value": argument.value}


def _c_type(argument: Argument) -> str:
    return C_TYPES.get(argument.dtype, f"{argument.dtype}_t")


def _c_expression(dim: str | int) -> str:
    """A dimension in C: Python's // is / there, for what is positive."""
    text = f"({str(dim).replace('//', '/')})"
    if "min(" in text or "max(" in text:
        raise ProblemError(
            "problem.py", "shape", text, "a dimension without min and max", "Give that extent a size of its own to export it."
        )
    return text


def _limit(problem: Problem) -> tuple[str, str]:
    """Python expressions: the unit roundoff of the inputs, and the limit on s for a shape called `sizes`."""
    if problem.compute_dtype == "float64":
        return "2.0**-53", "max(1e-14, 8 * math.sqrt(_problem.accumulation(**sizes)) * 2.0**-53)"
    fixed = {"tf32": "1e-2", "float16": "5e-3", "bfloat16": "4e-2"}.get(problem.compute_dtype)
    return "2.0**-24", fixed or "max(1e-5, 8 * math.sqrt(_problem.accumulation(**sizes)) * 2.0**-24)"
