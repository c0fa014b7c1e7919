"""The exported folder of a kernel for a GPU: plain files, a self-contained `ModelNew`, a torch operator that falls back, a test.

Nothing is compiled here: Triton compiles where the kernel is called, and `build.sh` calls nvcc for CUDA. The package's own test runs on
this machine; without a GPU it tries the fallback and the operator, and says nothing about the kernel, which its certificate does.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evo.config import Config
from evo.errors import UserError
from evo.export.choice import Specialist
from evo.export.envelope import envelope_of
from evo.export.provenance import provenance
from evo.export.writer import TEMPLATES, VERSION
from evo.reading import RunReader
from fitness.problem import Argument, Problem, Sizes, shape_label
from fitness.shares import told

__all__ = ["LANGUAGES", "write_device_package"]

LANGUAGES = {"triton": "source.py", "cuda": "source.cu"}
"""Language → the file that holds the kernel as it is."""
MOST_TRIED = 64 << 20
"""Bytes of arguments of a shape that the package's own test computes."""


def write_device_package(reader: RunReader, config: Config, winner: Specialist, problem: Problem, module: str, place: Path) -> str:
    """Fills the folder and runs its test, whose output it returns. Raises `UserError` when that fails or torch is missing."""
    writer = _Foreign(problem, module, winner, place) if problem.foreign is not None else _Own(problem, module, winner, place)
    writer.write()
    writer.document(reader, config)
    return _tested(place, module)


class _Writer:
    """What both kinds of packages have in common."""

    fallback = "PyTorch"
    plain = ""

    def __init__(self, problem: Problem, module: str, winner: Specialist, place: Path) -> None:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        self.problem, self.module, self.winner, self.place = problem, module, winner, place
        self.home = place / module
        self.home.mkdir(parents=True, exist_ok=True)
        self.what = problem.specification.strip().splitlines()[0].rstrip(".").replace('"', "'").replace("\\", "")
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
        )

    @property
    def rule(self) -> str:
        return envelope_of(self.problem).rule()

    def render(self, template: str, file: str, **values: Any) -> None:
        path = self.place / file
        path.parent.mkdir(parents=True, exist_ok=True)
        known = {"module": self.module, "name": self.problem.name, "what": self.what, "rule": self.rule}
        path.write_text(self._environment.get_template(template).render(**known, **values), encoding="utf-8")

    def json(self, file: str, value: Any) -> None:
        (self.place / file).write_text(json.dumps(value, indent=1, default=str) + "\n", encoding="utf-8")

    def packaged(self, requires: Sequence[str], commands: Sequence[Sequence[str]] = ()) -> None:
        (self.home / "__init__.py").write_text(f'"""{self.what}\n\nImport `{self.module}.torch_op`, or `ModelNew` of `.model_new`."""\n')
        self.render("backend.py.j2", "evo_build.py")
        self.render("pyproject.toml.j2", "pyproject.toml")
        facts = {"module": self.module, "version": VERSION, "summary": self.what[:200], "requires": requires}
        self.json("build.json", {**facts, "compiler": "", "commands": commands})

    def usage(self) -> str:
        raise NotImplementedError

    def table(self) -> str:
        arguments = (*self.problem.inputs, *self.problem.outputs)
        return "\n".join(f"- `{a.name}`: {a.dtype}[{', '.join(map(str, a.dims))}]" for a in arguments)

    def document(self, reader: RunReader, config: Config) -> None:
        """README and provenance."""
        problem, certificate = self.problem, self.winner.certificate
        build = json.loads((self.place / "build.json").read_text(encoding="utf-8"))
        facts = provenance(reader, [self.winner], problem_version=problem.version, build=build, reproduce=f"evo certify {reader.folder}")
        self.json("provenance.json", facts | {"verified_for": self.rule, "config": config.model_dump(mode="json")})
        environment = facts["environments"].get(certificate.get("environment"), {})
        share = told(certificate.get("roofline_share"), certificate.get("shares", {}), certificate.get("roofline", ""))
        order = sorted(certificate["against"], key=lambda name: (name != certificate["strongest"], name))
        self.render(
            "device_readme.md.j2", "README.md", usage=self.usage(), table=self.table(), plain=self.plain, fallback=self.fallback,
            certified=[{"name": name, **certificate["against"][name]} for name in order],
            device=environment.get("device", {}).get("name", "the machine of provenance.json"),
            share=f", at {share}" if share else "",
        )  # fmt: skip


class _Own(_Writer):
    """A kernel of one of our own problems, in Triton or CUDA."""

    def write(self) -> None:
        problem, language = self.problem, self.winner.kernel.language
        self.plain = LANGUAGES[language]
        (self.home / self.plain).write_text(self.winner.kernel.source, encoding="utf-8")
        inputs = ", ".join(argument.name for argument in problem.inputs)
        single = len(problem.outputs) == 1
        returns = "torch.Tensor" if single else f"tuple[{', '.join(['torch.Tensor'] * len(problem.outputs))}]"
        self.render(f"device_{language}.py.j2", f"{self.module}/kernel.py")
        self.render(
            "device_op.py.j2", f"{self.module}/torch_op.py", language=language, inputs=inputs, single=single, returns=returns,
            tensors=", ".join(f"{argument.name}: torch.Tensor" for argument in problem.inputs), first=problem.inputs[0].name,
        )  # fmt: skip
        if language == "triton":
            self.render(
                "device_model.py.j2", f"{self.module}/model_new.py", source=self.winner.kernel.source, inputs=inputs,
                sizes=repr(problem.sizes), input_dims=repr([list(a.dims) for a in problem.inputs]),
                output_dims=repr([(a.dtype, list(a.dims)) for a in problem.outputs]),
            )  # fmt: skip
        else:
            text = f"class ModelNew(torch.nn.Module):\n    def forward(self, {inputs}):\n        return torch_op.{problem.name}({inputs})\n"
            (self.home / "model_new.py").write_text(f'"""{self.what}"""\n\nimport torch\n\nfrom . import torch_op\n\n\n{text}')
            self._build_line()
        shutil.copyfile(problem.folder / "problem.py", self.home / "_problem.py")
        shutil.copyfile(problem.folder / "baseline.py", self.home / "_baseline.py")
        self.render("device_test.py.j2", f"tests/test_{self.module}.py", precision=repr(problem.compute_dtype))
        self.packaged(["torch", *(["triton"] if language == "triton" else [])])
        self.json(f"{self.module}/facts.json", self._facts())

    def usage(self) -> str:
        names = ", ".join(argument.name for argument in self.problem.inputs)
        results = ", ".join(argument.name for argument in self.problem.outputs)
        return f"{results} = torch.ops.{self.module}.{self.problem.name}({names})"

    def _build_line(self) -> None:
        from fitness.targets.cuda import FLAGS

        line = f'nvcc {" ".join(FLAGS)} -gencode=arch=compute_${{ARCH:-90a}},code=sm_${{ARCH:-90a}} -o {self.module}/libsource.so'
        script = ["#!/bin/sh", "set -eu", 'cd "$(dirname "$0")"', f"{line} {self.module}/source.cu", ""]
        (self.place / "build.sh").write_text("\n".join(script), encoding="utf-8")

    def _facts(self) -> dict[str, Any]:
        problem, envelope = self.problem, envelope_of(self.problem)
        light = [sizes for sizes in problem.small_shapes if problem.footprint(sizes) <= MOST_TRIED]
        return {
            "sizes": problem.sizes,
            "inputs": [_argument(argument) for argument in problem.inputs],
            "outputs": [_argument(argument) for argument in problem.outputs],
            "envelope": asdict(envelope),
            "tried": [dict(sizes) for sizes in light],
            "outside": self._outside(envelope.high),
        }

    def _outside(self, high: Mapping[str, int]) -> Sizes | None:
        """Sizes just beyond the verified ones, small enough to compute."""
        options = [{**self.problem.small_shapes[0], name: high[name] + 1} for name in self.problem.sizes]
        for sizes in sorted(options, key=self.problem.footprint):
            with contextlib.suppress(Exception):
                if self.problem.footprint(sizes) <= MOST_TRIED and self._computes(sizes):
                    return sizes
        return None

    def _computes(self, sizes: Sizes) -> bool:
        """Whether such sizes mean anything to the problem."""
        from fitness.gpu.cases import make_case

        make_case(self.problem, sizes, "normal", device="cpu")
        return True


class _Foreign(_Writer):
    """A candidate for a problem of others."""

    fallback = "the file that the problem was given as"
    plain = "model_new.py"

    @property
    def rule(self) -> str:
        """The shapes themselves: nothing between them was tried."""
        foreign = self.problem.foreign
        assert foreign is not None
        shapes = (" × ".join(str(list(leaf.shape)) for leaf in one.inputs) for one in foreign.signatures.values())
        return "inputs of the shapes " + ", ".join(shapes)

    def write(self) -> None:
        foreign = self.problem.foreign
        assert foreign is not None
        setting = foreign.setting()
        (self.home / "model_new.py").write_text(self.winner.kernel.source, encoding="utf-8")
        path, _ = foreign.subject.baseline()
        shutil.copyfile(path, self.home / "reference.py")
        for name, text in setting.get("modules", {}).items():
            (self.home / f"{name}.py").write_text(text, encoding="utf-8")
        if setting.get("modules"):
            self._local(list(setting["modules"]))
        verified = [
            {
                "inputs": [[leaf.dtype, list(leaf.shape)] for leaf in one.inputs],
                "outputs": [[leaf.dtype, list(leaf.shape)] for leaf in one.outputs],
                "data": one.tree,
            }
            for one in foreign.signatures.values()
        ]
        facts = {"style": setting["style"], "init": setting["init"], "verified": verified, "runs_anywhere": False}
        self.render("foreign_op.py.j2", f"{self.module}/torch_op.py")
        self.render("foreign_test.py.j2", f"tests/test_{self.module}.py", entry=repr(foreign.entry))
        self.packaged(["torch", *(["triton"] if "triton" in self.winner.kernel.source else [])])
        self.json(f"{self.module}/facts.json", facts)

    def _local(self, modules: Sequence[str]) -> None:
        """A task's files import each other by their bare names; in a package they are neighbours."""
        for file in self.home.glob("*.py"):
            text = file.read_text(encoding="utf-8")
            for name in modules:
                text = text.replace(f"from {name} import", f"from .{name} import")
                text = text.replace(f"\nimport {name}\n", f"\nfrom . import {name}\n")
            file.write_text(text, encoding="utf-8")

    def table(self) -> str:
        arguments = itertools.chain(self.problem.inputs, self.problem.outputs)
        first = self.problem.shapes[0]
        return f"On {shape_label(first)}:\n\n" + "\n".join(f"- `{a.name}`: {a.dtype}{list(a.shape(first))}" for a in arguments)

    def usage(self) -> str:
        name = self.problem.name
        return f"outputs = torch.ops.{self.module}.{name}([inputs…], {self.module}.torch_op.parameters_of(model))"


def _argument(argument: Argument) -> dict[str, Any]:
    facts = {"name": argument.name, "dtype": argument.dtype, "dims": argument.dims, "role": argument.role}
    return facts | {"below": argument.below, "value": None if argument.value is None or math.isnan(argument.value) else argument.value}


def _tested(place: Path, module: str) -> str:
    done = subprocess.run([sys.executable, f"tests/test_{module}.py"], cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise UserError(
            "The exported package fails its own test; nothing was exported.", found=said[-1500:],
            remedy="Export where torch is installed (pip install 'evo-kernels[gpu]'); if it is, this is a defect of evo.",
        )  # fmt: skip
    return done.stdout
