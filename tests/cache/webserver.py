"""A web server whose responses a test scripts and whose requests it reads."""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from email.message import Message


@dataclass
class Response:
    """What the server answers; as `body=None` it breaks off the connection."""

    body: bytes | None = b"hello"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    gate: threading.Event | None = None
    drip: float | None = None


@dataclass
class Request:
    """What the server was asked."""

    path: str
    headers: Message


class WebServer:
    """Answers each path with its responses in turn, and with the last one from then on."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._script: dict[str, list[Response]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = self._open(0)

    def _open(self, port: int) -> ThreadingHTTPServer:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                with suppress(OSError):
                    owner._answer(self)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

            def version_string(self) -> str:
                return "test"

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), name="web").start()
        return server

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def say(self, path: str, *responses: Response) -> str:
        """Script the responses of a path, and return its URL."""
        with self._lock:
            self._script[path] = list(responses)
        return self.url + path

    def asked(self, path: str | None = None) -> list[Request]:
        """Return the requests so far, of one path or all."""
        return [each for each in self.requests if path in {None, each.path}]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.requests.append(Request(handler.path, handler.headers))
            script = self._script[handler.path]
            response = script.pop(0) if len(script) > 1 else (script or [Response(status=404)])[0]
        if response.gate is not None:
            response.gate.wait(20)
        handler.close_connection = True
        if response.body is None:
            return
        handler.send_response_only(response.status)
        for name, value in response.headers.items():
            for each in value.split("\n"):
                handler.send_header(name, each)
        handler.send_header("Connection", "close")
        if response.drip is None and response.status not in {204, 304}:
            handler.send_header("Content-Length", str(len(response.body)))
        handler.end_headers()
        if response.drip is None:
            if response.status not in {204, 304}:
                handler.wfile.write(response.body)
            return
        for byte in response.body:
            handler.wfile.write(bytes((byte,)))
            handler.wfile.flush()
            if self._closing.wait(response.drip):
                return

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.shutdown()
        self._server.server_close()

    def start(self) -> None:
        """Listen again, where it did before."""
        self._server = self._open(self._server.server_address[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self.stop()
