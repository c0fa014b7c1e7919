"""The plan of a kernel's file: which kernels a call launches on a shape, on which grid, with which parameters. Standard library only.

Taken down where the file is built, so the device sees machine code and a list of launches, and never the file. Triton calls the stand-in
here as it would call its own launcher, on tensors without data; CUDA files are called on made-up addresses (`fitness.gpu.recording`).
A plan as JSON, beside the machine code 0.cubin, 1.cubin, …:
  {"kernels": [{"name", "threads", "shared", "clusters", "cooperative", "scratch"}],
   "cases": [{"sizes": [...], "bytes": [of each argument], "workspace": bytes,
              "launches": [{"kernel", "grid", "arguments": [parameter, …]}]}]}
where a parameter is ["pointer", argument in ABI order with the workspace last, byte offset], ["value", its bytes in hexadecimal], or
["pieces", [of these two kinds, one behind the other]]. The machine code of a kernel is that with its own number, its block is one of
`threads` threads, and its grid counts clusters. A CUDA file's kernels, all of one image, say instead
  {"name", "image", "block": [x, y, z], "shared": dynamic bytes, "attributes": [[of a launch, [words]]],
   "settings": [[of the function, value]], "scratch": 0},
their grids count blocks, and among their launches there may be
  {"memset": [argument, byte offset], "byte", "bytes"} and {"copy": [argument, byte offset], "from": [argument, byte offset], "bytes"}.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Sequence
from typing import Any

__all__ = ["PROGRAMMATIC", "Launches", "Unplannable", "archive"]

PROGRAMMATIC = 6
"""The attribute of a launch that lets it begin before the one before it has ended (programmatic stream serialization)."""

_NUMBERS = {
    "i1": "<b", "i8": "<b", "i16": "<h", "i32": "<i", "i64": "<q", "u1": "<B", "u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q",
    "fp16": "<e", "fp32": "<f", "f32": "<f", "fp64": "<d",
}  # fmt: skip


class Unplannable(Exception):
    """A launch that cannot be written down; the text says why."""


def archive(plan: dict[str, Any], images: Sequence[bytes]) -> bytes:
    """What a launcher needs, and nothing that is run on a host."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in (("plan.json", json.dumps(plan).encode()), *((f"{i}.cubin", image) for i, image in enumerate(images))):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


class Launches:
    """Stands in for the driver's `utils` and makes its launchers; keeps what was launched since `begin`."""

    def __init__(self) -> None:
        self.kernels: list[dict[str, Any]] = []
        self.images: list[bytes] = []
        self.made: list[dict[str, Any]] = []
        self.why_not = ""
        """Why a launch could not be written down; empty where all could."""
        self._storages: dict[int, int] = {}

    def begin(self, tensors: list[Any]) -> None:
        """tensors: the arguments of `launch`, in order, the workspace last (or None)."""
        self.made = []
        self._storages = {t.untyped_storage()._cdata: index for index, t in enumerate(tensors) if t is not None}

    # -- what Triton asks of a driver's utils ----------------------------------------------------------------------------------

    def load_binary(self, name: str, image: bytes, shared: int, _device: int) -> tuple[int, int, int, int, int]:
        self.images.append(image)
        self.kernels.append({"name": name, "shared": shared})
        return len(self.images), len(self.images), 0, 0, 1024

    def get_device_properties(self, _device: int) -> dict[str, int]:
        return {"max_shared_mem": 1 << 30, "multiprocessor_count": 132}  # the build's answer is held against the device's afterwards

    # -- and of its launcher class ---------------------------------------------------------------------------------------------

    def launcher(self, source: Any, metadata: Any) -> Any:
        types = list(source.signature.values())
        facts = {
            "threads": 32 * int(metadata.num_warps),
            "clusters": int(getattr(metadata, "num_ctas", 1)),
            "cooperative": bool(getattr(metadata, "launch_cooperative_grid", False)),
            "scratch": int(getattr(metadata, "global_scratch_size", 0) or 0),
        }

        def launch(x: int, y: int, z: int, _stream: int, function: int, *rest: Any) -> None:
            arguments = rest[4:]  # after packed metadata, launch metadata and two hooks
            self.kernels[function - 1].update(facts)
            written: list[list[Any]] = []
            try:
                for kind, value in zip(types, arguments, strict=True):
                    self._write(kind, value, written)
            except Unplannable as reason:
                self.why_not = self.why_not or str(reason)
            self.made.append({"kernel": function - 1, "grid": [int(x), int(y), int(z)], "arguments": written})

        return launch

    def _write(self, kind: Any, value: Any, written: list[list[Any]]) -> None:
        if isinstance(kind, (tuple, list)):
            for inner, part in zip(kind, value, strict=True):
                self._write(inner, part, written)
        elif kind == "constexpr":
            return
        elif kind.startswith("*"):
            written.append(self._pointer(value))
        elif kind in _NUMBERS:
            written.append(["value", struct.pack(_NUMBERS[kind], value).hex()])
        elif kind == "bf16":
            written.append(["value", struct.pack("<I", (struct.unpack("<I", struct.pack("<f", value))[0] + 0x8000) & 0xFFFFFFFF)[2:].hex()])
        else:
            raise Unplannable(f"a parameter is a {kind.partition('<')[0]}")

    def _pointer(self, value: Any) -> list[Any]:
        if value is None:
            return ["value", bytes(8).hex()]
        if isinstance(value, int):
            return ["value", struct.pack("<Q", value).hex()]
        index = self._storages.get(value.untyped_storage()._cdata) if hasattr(value, "untyped_storage") else None
        if index is None:
            raise Unplannable("a kernel is given memory that is no argument of `launch`")
        return ["pointer", index, int(value.storage_offset()) * int(value.element_size())]
