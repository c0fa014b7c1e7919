"""An OpenAI-compatible server on loopback that answers as it is told: well, slowly, wrongly, or never.

    with ModelServer(["text", Failing(429, retry_after=0.2), Slow("text", 1.0), HALF, NONSENSE, NEVER]) as server:
        server.url, server.requests, server.bodies

The script is a sequence of behaviours taken in order (the last one repeats), or a function of the request's body.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

__all__ = ["HALF", "INVALID", "NEVER", "Answer", "Behaviour", "Failing", "ModelServer", "Slow"]


@dataclass(frozen=True)
class Answer:
    """A completion, with its usage and why it ended."""

    text: str
    finish: str = "stop"
    tokens_in: int = 100
    tokens_out: int = 50
    usage: bool = True


@dataclass(frozen=True)
class Slow:
    """An answer after some seconds."""

    text: str
    seconds: float


@dataclass(frozen=True)
class Failing:
    """An HTTP error; `echo` puts the request's authorization into its message, as careless servers do."""

    status: int
    retry_after: float | str | None = None
    echo: bool = False


@dataclass(frozen=True)
class Broken:
    """A 200 that cannot be read."""

    kind: str


HALF = Broken("half")
INVALID = Broken("invalid")
NEVER = Broken("never")
Behaviour = str | Answer | Slow | Failing | Broken


class ModelServer:
    """Serves on a free port of loopback until the `with` block ends.

    Args:
        script: behaviours in the order of requests, the last one for ever; or a function of the request's JSON body.
    """

    def __init__(self, script: Sequence[Behaviour] | Callable[[dict[str, Any]], Behaviour]) -> None:
        self._script = script
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.times: list[float] = []
        """When each request came (monotonic)."""
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        """The authorization header of each request."""
        self.at_once = 0
        self.most_at_once = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                owner._serve(self)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # clients that hang up are what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def requests(self) -> int:
        return len(self.times)

    def prompt(self, number: int) -> str:
        """Everything that request `number` said, as one text."""
        return "\n".join(message["content"] for message in self.bodies[number]["messages"])

    def __enter__(self) -> ModelServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.times)
            self.times.append(time.monotonic())
            self.bodies.append(body)
            self.keys.append(handler.headers.get("Authorization", ""))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            behaviour = self._script(body) if callable(self._script) else self._script[min(number, len(self._script) - 1)]
        try:
            self._behave(handler, behaviour, body)
        finally:
            with self._lock:
                self.at_once -= 1

    def _behave(self, handler: BaseHTTPRequestHandler, behaviour: Behaviour, body: dict[str, Any]) -> None:
        if isinstance(behaviour, Failing):
            said = f" for {handler.headers.get('Authorization')}" if behaviour.echo else ""
            headers = {} if behaviour.retry_after is None else {"Retry-After": str(behaviour.retry_after)}
            _send(handler, behaviour.status, json.dumps({"error": {"message": f"told to fail{said}", "type": "error"}}), headers)
            return
        if behaviour is NEVER:
            self._closing.wait(60)
            return
        if isinstance(behaviour, Slow):
            self._closing.wait(behaviour.seconds)
            behaviour = behaviour.text
        answer = Answer(behaviour) if isinstance(behaviour, str) else behaviour if isinstance(behaviour, Answer) else Answer("half")
        text = json.dumps(_completion(answer, str(body.get("model"))))
        if behaviour is INVALID:
            _send(handler, 200, "<html>not json at all</html>")
        elif behaviour is HALF:
            handler.send_response(200)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(text)))
            handler.end_headers()
            handler.wfile.write(text[: len(text) // 2].encode())
            handler.close_connection = True
        else:
            _send(handler, 200, text)


def _send(handler: BaseHTTPRequestHandler, status: int, text: str, headers: dict[str, str] | None = None) -> None:
    data = text.encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def _completion(answer: Answer, model: str) -> dict[str, Any]:
    usage = {
        "prompt_tokens": answer.tokens_in,
        "completion_tokens": answer.tokens_out,
        "total_tokens": answer.tokens_in + answer.tokens_out,
    }
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": answer.finish, "message": {"role": "assistant", "content": answer.text}}],
        **({"usage": usage} if answer.usage else {}),
    }
