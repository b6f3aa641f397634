"""An OpenAI-compatible server that answers recorded questions with recorded answers.

    with RecordedProvider({"gpt-4": {"March": {question: answer}, "June": {…}}}) as provider:
        provider.url                       serves March
        provider.switch("June")            POST /control: the one thing the product does not know of

One name before and after, no fingerprint, no header that tells; every answer at once, so that
latency says nothing either. Tokens are characters / 4: the recordings count none. A question that
was never recorded (the product's own probes) gets the same word before and after.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

UNRECORDED = "Yes"
Answers = dict[str, dict[str, dict[str, str]]]  # name → month → question → answer


class RecordedProvider:
    def __init__(self, answers: Answers, month: str = "March") -> None:
        self.answers, self.month = answers, month
        self.served: Counter[str] = Counter()  # by month, and "unrecorded"
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        handler = type("Bound", (_Handler,), {"provider": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def switch(self, month: str) -> None:
        request = urllib.request.Request(
            self.url.replace("/v1", "/control"), data=json.dumps({"month": month}).encode()
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            response.read()

    def answer(self, name: str, question: str) -> str:
        found = self.answers[name][self.month].get(question)
        with self.lock:
            self.served[self.month if found is not None else "unrecorded"] += 1
        return UNRECORDED if found is None else found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    provider: RecordedProvider

    def do_GET(self) -> None:
        names = [{"id": name, "object": "model"} for name in self.provider.answers]
        self._send(200, {"object": "list", "data": names})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        if self.path == "/control":
            self.provider.month = asked["month"]
            self._send(200, asked)
            return
        if asked.get("model") not in self.provider.answers:
            error = {"message": "The model does not exist", "code": "model_not_found"}
            self._send(404, {"error": error})
            return
        question = str(asked["messages"][-1]["content"])
        text = self.provider.answer(asked["model"], question)
        tokens = [max(1, len(question) // 4), max(1, len(text) // 4)]
        self._send(
            200,
            {
                "id": "chatcmpl-recorded",
                "object": "chat.completion",
                "created": 1,
                "model": asked["model"],
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": text},
                    }
                ],
                "usage": {
                    "prompt_tokens": tokens[0],
                    "completion_tokens": tokens[1],
                    "total_tokens": sum(tokens),
                },
            },
        )

    def _send(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
