"""A run as a Model Context Protocol server, so that a coding agent without any key can drive a search.

`Tools` holds what the tools do, without the protocol; `serve` puts them behind the `mcp` package (extra `[mcp]`).
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from evo.errors import UserError
from evo.llm.answering import answers_in
from evo.reading import open_run
from evo.run import Run

__all__ = ["Tools", "serve"]


class Tools:
    """What an agent may do with the run in `folder`. Every method opens the run for itself, so that several agents take turns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scratch = Path(tempfile.mkdtemp(prefix="evo-mcp-"))

    def get_proposal(self, operator: str = "llm_universal") -> dict[str, Any]:
        """A new proposal: its id, and a prompt with everything needed to answer it with a kernel."""
        (folder,) = Run.open(self.folder).ask(1, self._scratch, operator)
        return {"proposal": folder.name, "prompt": (folder / "PROMPT.md").read_text(encoding="utf-8").partition("\n---\nHow to answer")[0]}

    def submit_kernel(self, proposal: str, source: str) -> dict[str, Any]:
        """Compiles, checks and times a kernel (its complete source) for a proposal, and says what came of it."""
        folder = self._scratch / Path(proposal).name
        if not (folder / "proposal.json").is_file():
            return {"error": f"there is no proposal {proposal}; call get_proposal first"}
        (folder / "answer.md").write_text(f"````\n{source.rstrip()}\n````\n", encoding="utf-8")
        (result,) = Run.open(self.folder).tell(answers_in(folder), "agent")
        return result.facts()

    def archive(self) -> list[dict[str, Any]]:
        """Every cell that is held: by which candidate, how fast."""
        with open_run(self.folder) as reader:
            query = "SELECT cell, candidate, operator, speedup FROM elites WHERE run = ? ORDER BY speedup DESC"
            return reader.lineage.select(query, (reader.record.id,))

    def candidate(self, number: int) -> dict[str, Any]:
        """One candidate: source, outcome, diagnostics, parents."""
        with open_run(self.folder) as reader:
            found = reader.candidate(number)
        evaluation = found.evaluation
        return {
            "candidate": found.number,
            "operator": found.proposal.operator,
            "parents": list(found.proposal.parents),
            "outcome": None if evaluation is None else evaluation.outcome.value,
            "speedup": None if evaluation is None else evaluation.speedup,
            "diagnostics": [] if evaluation is None else [one.message for one in evaluation.diagnostics],
            "source": "" if found.kernel is None else found.kernel.source,
        }

    def best(self) -> dict[str, Any]:
        """The best kernel so far, with its source."""
        with open_run(self.folder) as reader:
            found = reader.best()
        return {} if found is None else {"candidate": found.candidate, "speedup": found.speedup, "source": found.source}


def serve(folder: Path) -> None:
    """Serves until the client hangs up.

    Raises:
        UserError: the `mcp` package is not installed.
    """
    try:
        server_class = _server_class()
    except ImportError as error:
        raise UserError(
            "An MCP server needs the package `mcp`.",
            found=str(error),
            remedy="pip install 'evo-kernels[mcp]'; or use evo ask and evo tell.",
        ) from error
    tools = Tools(folder)
    server = server_class("evo", instructions="Make a kernel faster: get_proposal, write a kernel, submit_kernel, and again.")
    for tool in (tools.get_proposal, tools.submit_kernel, tools.archive, tools.candidate, tools.best):
        server.add_tool(_quiet(tool), name=tool.__name__, description=tool.__doc__)
    server.run()


def _server_class() -> Any:
    """The package's high-level server, under the name it has in mcp 2 or in mcp 1. Raises ImportError."""
    try:
        return import_module("mcp.server.mcpserver").MCPServer
    except ModuleNotFoundError:
        return import_module("mcp.server.fastmcp").FastMCP


def _quiet(tool: Any) -> Any:
    """The tool with its prints on standard error, for standard output is the protocol's; outside the server's event loop."""
    import asyncio
    import functools

    @functools.wraps(tool)
    async def called(*arguments: Any, **named: Any) -> Any:
        def work() -> Any:
            with contextlib.redirect_stdout(sys.stderr):
                try:
                    return tool(*arguments, **named)
                except UserError as error:
                    return {"error": str(error)}

        return await asyncio.to_thread(work)

    return called
