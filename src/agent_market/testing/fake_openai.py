"""An OpenAI-compatible server on this machine that answers by a script, for tests without a network.

    python -m agent_market.testing.fake_openai --port 8766 --script good,429,cut,hostile,good

serves `POST /v1/chat/completions`; each request takes the next step of the script, and after the last one all answers
are good: factors out of a few templates, the same for the same seed. Steps are: good, typo (one expression that
cannot be read; good when it is sent back), fenced (JSON in a code fence after a chain of thought), truncated, parts
(content in parts), hostile, oversized, deep, empty, not_json, compressed, html, echo_key, no_schema (refuses
json_schema), no_format (refuses every response_format), new_model (refuses max_tokens and temperature), slow (a pause
before the answer), drip (byte by byte), cut (breaks off in the middle), reset (closes without an answer), redirect, a
status such as 429 or 503, 429+2 (asks to wait two seconds), loop (the same factors again).
"""

import argparse
import gzip
import json
import random
import socket
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from agent_market.testing.hostile import hostile_reply

TEMPLATES = (
    ("reversal", "-ts_zscore(close / delay(close, {a}) - 1, {b})", "mean_reversion", "what fell fast comes back"),
    ("trend", "ts_mean(close, {a}) / ts_mean(close, {b}) - 1", "trend", "a trend goes on"),
    ("range", "(high - low) / ts_mean(high - low, {b})", "volatility", "wide candles announce a move"),
    ("pressure", "ts_corr(close / delay(close, 1) - 1, volume, {b})", "volume", "volume confirms a move"),
    ("wick", "ts_mean((open + close - high - low) / (high - low), {a})", "candle_shape", "long lower wicks: buyers"),
    ("place", "(close - ts_min(low, {b})) / (ts_max(high, {b}) - ts_min(low, {b}))", "momentum", "near the high"),
)
WINDOWS = (2, 3, 6, 12, 24, 48, 72)
KEY_WORDS = "These expressions cannot be read"


@dataclass(frozen=True)
class Received:
    """One request as it came: path, headers in small letters, and the decoded body."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class FakeOpenAI:
    """The server; a context manager that serves while open.

    `requests` holds what was received, `served` the steps taken.

    script: what the next requests get, one step each. key: the bearer token that is asked for, none = anybody.
    pause: seconds that slow and drip take.
    """

    def __init__(self, script: list[str] | None = None, *, key: str = "", port: int = 0, pause: float = 1.0) -> None:
        self.script = deque(script or [])
        self.key = key
        self.pause = pause
        self.requests: list[Received] = []
        self.served: list[str] = []
        self._lock = threading.Lock()
        self._port = port
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> "FakeOpenAI":
        self._server = _Server(("127.0.0.1", self._port), _Handler)
        self._server.fake = self
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """What `mining.llm.base_url` is set to."""
        return f"http://127.0.0.1:{self._port}/v1"

    def step(self, received: Received) -> str:
        """What this request gets."""
        with self._lock:
            self.requests.append(received)
            step = self.script.popleft() if self.script else "good"
            kind = (received.body.get("response_format") or {}).get("type")
            if step == "no_schema" and kind != "json_schema":
                step = "good"
            if step == "no_format":
                if kind is None:
                    step = "good"
                else:
                    self.script.appendleft(step)
            if step == "new_model":
                if {"max_tokens", "temperature"} & set(received.body):
                    self.script.appendleft(step)
                else:
                    step = "good"
            self.served.append(step)
            return step


def factors(body: dict[str, Any], *, typo: bool = False) -> str:
    """The text of a good answer to a request: as many factors as it asks for, chosen by its seed."""
    asked = str(body["messages"][-1]["content"])
    count = next((int(word) for word in asked.rsplit("Propose ", 1)[-1].split()[:1] if word.isdigit()), 2)
    rng = random.Random(f"{body.get('seed')} {body.get('model')}")
    items = []
    for number in range(count):
        name, text, category, why = TEMPLATES[(rng.randrange(len(TEMPLATES)) + number) % len(TEMPLATES)]
        short, long = sorted(rng.sample(WINDOWS, 2))
        item = {"name": f"{name}_{short}_{long}", "expression": text.format(a=short, b=long)}
        items.append(item | {"hypothesis": f"{why} <b>over {long} candles</b>", "category": category})
    if typo and KEY_WORDS not in asked:
        items[0]["expression"] = items[0]["expression"].replace("ts_", "tss_").replace("high", "hihg")
    return json.dumps({"expressions": items})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    fake: FakeOpenAI

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that gave up is no error of ours
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.path, headers, body)
        fake = self.server.fake
        if fake.key and headers.get("authorization") != f"Bearer {fake.key}":
            given = headers.get("authorization", "")
            self._send(401, {"error": {"message": f"Incorrect API key provided: {given.removeprefix('Bearer ')}"}})
            fake.requests.append(received)
            return
        if self.path != "/v1/chat/completions":
            self._send(404, {"error": {"message": f"unknown path {self.path}"}})
            return
        self._answer(fake.step(received), body)

    def _answer(self, step: str, body: dict[str, Any]) -> None:
        fake = self.server.fake
        text = factors(body, typo=step == "typo")
        if step[:3].isdigit():
            status, _, wait = step.partition("+")
            return self._send(int(status), {"error": {"message": "try later"}}, {"Retry-After": wait} if wait else {})
        if step in ("no_schema", "no_format"):
            return self._send(400, {"error": {"message": "This response_format type is unavailable now"}})
        if step == "new_model":
            name = "max_tokens" if "max_tokens" in body else "temperature"
            return self._send(400, {"error": {"message": f"Unsupported parameter: '{name}' with this model."}})
        if step == "redirect":
            return self._send(307, {}, {"Location": "http://127.0.0.1:9/v1/chat/completions"})
        if step == "reset":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if step == "slow":
            time.sleep(fake.pause)
        texts = {
            "fenced": f"<think>{{ not this }}</think>Sure:\n```json\n{text}\n```\nDone.",
            "truncated": text[: len(text) * 2 // 3],
            "hostile": hostile_reply(len(fake.requests)),
            "empty": "",
            "echo_key": text.replace("candles", f"candles {self.headers.get('authorization', '')}"),
            "loop": '{"expressions": [{"name": "same", "expression": "close / open - 1"}]}',
        }
        content: Any = texts.get(step, text)
        if step == "parts":
            content = [{"type": "text", "text": text[:50]}, {"type": "text", "text": text[50:]}]
        raw = json.dumps(_completion(body, content)).encode()
        raw = {
            "oversized": raw + b" " * 20_000_000,
            "deep": b'{"choices":' * 200_000,
            "not_json": b"data: {not json",
            "html": b"<html><body>Gateway</body></html>",
        }.get(step, raw)
        if step == "compressed":
            return self._raw(200, gzip.compress(b"0" * 50_000_000), {"Content-Encoding": "gzip"})
        if step == "cut":
            return self._raw(200, raw, {}, stop=len(raw) // 2)
        if step == "drip":
            return self._drip(raw)
        return self._raw(200, raw, {})

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._raw(status, json.dumps(body).encode(), headers or {})

    def _raw(self, status: int, raw: bytes, headers: dict[str, str], stop: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw[:stop])
        self.close_connection = stop is not None

    def _drip(self, raw: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        for byte in raw:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(self.server.fake.pause / 10)

    def log_message(self, *_: Any) -> None:
        """Say nothing: `FakeOpenAI.requests` has them all."""


def _completion(body: dict[str, Any], content: Any) -> dict[str, Any]:
    asked = sum(len(str(message.get("content"))) for message in body.get("messages", ()))
    used = {"prompt_tokens": asked // 4, "completion_tokens": len(str(content)) // 4}
    message = {"role": "assistant", "content": content}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model"),
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {**used, "total_tokens": sum(used.values())},
    }


def main(arguments: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m agent_market.testing.fake_openai",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8766, help="0 = any that is free")
    parser.add_argument("--script", default="", help="steps, separated by commas")
    parser.add_argument("--key", default="", help="the bearer token that is asked for; none = anybody")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds that slow and drip take")
    options = parser.parse_args(arguments)
    script = [step for step in options.script.split(",") if step]
    with FakeOpenAI(script, key=options.key, port=options.port, pause=options.pause) as fake:
        sys.stdout.write(f"mining.llm.base_url={fake.url}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
