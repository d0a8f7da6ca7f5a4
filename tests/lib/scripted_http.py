"""A real HTTP server that answers what a test scripted, whatever it is asked, and remembers what it was asked."""

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

_LONGEST_WAIT_S = 60


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One answer. `drop`: the connection is closed instead of it. `pause_s`: before it, and before each byte with `drip`.

    `until`: it waits for this to happen; with `drip` it drips no longer than that.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    pause_s: float = 0
    drip: bool = False
    until: threading.Event | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ScriptedServer:
    """`say` what comes next; the last reply is repeated. Use it in a `with`."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._replies: deque[Reply] = deque([Reply()])
        script = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                script._answer(self)

            do_POST = do_GET  # noqa: N815 (the base class calls it by this name)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
                """Nothing: pytest shows what failed."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def say(self, *replies: Reply) -> None:
        self._replies = deque(replies)

    def say_json(self, *bodies: str, status: int = 200) -> None:
        """As texts, because what is not quite JSON has to be sayable."""
        self.say(*(Reply(status=status, body=body.encode()) for body in bodies))

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        body = handler.rfile.read(length)
        self.asked.append(Asked(method=handler.command, path=handler.path, headers=headers, body=body))
        reply = self._replies.popleft() if len(self._replies) > 1 else self._replies[0]
        if reply.until is not None and not reply.drip:
            reply.until.wait(_LONGEST_WAIT_S)
        time.sleep(reply.pause_s)
        if reply.drop:
            handler.close_connection = True
            return
        # A JSON-RPC client wants its own number back.
        content = (
            reply.body.replace(b"$ID", str(json.loads(body)["id"]).encode()) if b"$ID" in reply.body else reply.body
        )
        handler.send_response(reply.status)
        for name, value in reply.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(content)))
        handler.end_headers()
        self._write(handler, content, reply)

    def _write(self, handler: BaseHTTPRequestHandler, content: bytes, reply: Reply) -> None:
        try:
            for chunk in (content[i : i + 1] for i in range(len(content))) if reply.drip else (content,):
                handler.wfile.write(chunk)
                handler.wfile.flush()
                if reply.drip:
                    (reply.until or threading.Event()).wait(reply.pause_s)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
