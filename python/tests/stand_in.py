"""A small server that answers like the API, and counts the requests."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FILE = "00000000-0000-4000-8000-000000000000"
FILE_MEMBERS = {
    "object": "file",
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "sample_type": "batch_request",
    "source": "upload",
}
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


class Api:
    """Runs on a free port until `stop`."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        # How many more requests get this status.
        self.errors: list[int] = []
        self.secret = ""
        api = self

        class Handler(_Handler):
            api = self

        del api
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: Api
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._count()
        if self.path.startswith("/v1/batch/jobs/"):
            polls = self.api.requests.count(f"GET {self.path}")
            self._json({"id": "job", "object": "batch", "status": "SUCCESS" if polls > 2 else "RUNNING"})
        else:
            self._json({"object": "list", "data": []})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._count()
        if self.api.errors:
            self._json({"object": "error", "message": "slow down"}, self.api.errors.pop())
        elif self.path == "/v1/files":
            self._json({"id": FILE, "bytes": len(body), **FILE_MEMBERS})
        elif self.path == "/v1/embeddings":
            inputs = json.loads(body)["input"]
            data = [{"object": "embedding", "index": n, "embedding": [0.5, n]} for n in range(len(inputs))]
            self._json({"id": "e", "object": "list", "model": "mistral-embed", "data": data, "usage": USAGE})
        else:
            self._chat(json.loads(body))

    def _count(self) -> None:
        self.api.requests.append(f"{self.command} {self.path}")

    def _chat(self, body: dict[str, Any]) -> None:
        text = f"{body['messages'][-1]['content']}! {self.api.secret}".strip()
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "usage": USAGE}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text, "tool_calls": None}
            self._json({**answer, "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
            return
        events = []
        for word in text.split(" "):
            choice = {"index": 0, "finish_reason": None, "delta": {"role": "assistant", "content": word}}
            events.append({**answer, "usage": None, "object": "chat.completion.chunk", "choices": [choice]})
        events[-1]["choices"][0]["finish_reason"] = "stop"
        events[-1]["usage"] = USAGE
        lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self._send(lines.encode(), "text/event-stream")

    def _json(self, value: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(value).encode(), "application/json", status)

    def _send(self, body: bytes, content_type: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
