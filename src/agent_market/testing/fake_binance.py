"""Binance's public REST interface on this machine, as far as ccxt and freqtrade use it, for tests without a network.

    python -m agent_market.testing.fake_binance --datadir user_data/data/binance --port 8765 --replay-from 2024-06-01

serves the candles of a freqtrade data folder as if the first of June were now, and time flows on from there.
"""

import argparse
import json
import math
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import pandas as pd

from agent_market.testing.answers import ROUTES, Answer, Moment
from agent_market.testing.quotes import Key, Quotes, load_datadir

APIS = {
    **dict.fromkeys(("public", "private"), "api/v3"),
    "v1": "api/v1",
    **dict.fromkeys(("sapi", "sapiV2", "sapiV3", "sapiV4"), "sapi/v1"),
    **dict.fromkeys(("fapiPublic", "fapiPrivate"), "fapi/v1"),
    **dict.fromkeys(("fapiPublicV2", "fapiPrivateV2"), "fapi/v2"),
    **dict.fromkeys(("fapiPublicV3", "fapiPrivateV3"), "fapi/v3"),
    "fapiData": "futures/data",
    **dict.fromkeys(("dapiPublic", "dapiPrivate", "dapiPrivateV2"), "dapi/v1"),
    "dapiData": "futures/data",
    **dict.fromkeys(("eapiPublic", "eapiPrivate"), "eapi/v1"),
    **dict.fromkeys(("papi", "papiV2"), "papi/v1"),
}
"""ccxt's names of Binance's interfaces, and their paths: none is left out, so that no request goes elsewhere."""

KINDS = {"api": "spot", "fapi": "futures"}


def exchange_options(url: str, trading_mode: str = "spot") -> dict[str, Any]:
    """Keys of freqtrade's `exchange` block that send every request to `url`, such as http://127.0.0.1:8765."""
    return {
        "enable_ws": False,
        "only_from_ccxt": True,
        "ccxt_config": {
            "enableRateLimit": False,
            "options": {"fetchMarkets": {"types": ["linear" if trading_mode == "futures" else "spot"]}},
            "urls": {"api": {name: f"{url}/{path}" for name, path in APIS.items()}},
        },
    }


@dataclass
class Fault:
    """Something that goes wrong with the next `times` requests whose address holds `match`, after `skip` good ones."""

    kind: Literal["status", "cut", "slow", "empty"]
    """Answer with `status`; break off in the middle of the body; wait `seconds`; answer with an empty list."""
    match: str = "lines"  # klines and markPriceKlines
    times: int = 1
    skip: int = 0
    status: int = 429
    seconds: float = 1  # how long slow is; what Retry-After asks for


class FakeBinance:
    """Binance on 127.0.0.1, spot and linear futures, with the candles given; a context manager that serves while open.

    candles: a freqtrade data folder of one exchange, or frames (date, open, high, low, close, volume) by pair,
    timeframe and kind: spot, futures, mark, funding_rate (date, funding_rate). A row that is not there is a hole.

    now: what time it is on the exchange. A date stays until `now` is set to another; None is the real clock.
    replay_from: the real clock, but all candles are moved in time, so that the one of this date opens about now:
    by a multiple of the longest timeframe, `moved_by`. The candle that runs now is served unfinished.
    """

    def __init__(
        self,
        candles: Path | Mapping[Key, pd.DataFrame],
        *,
        now: str | pd.Timestamp | None = None,
        replay_from: str | pd.Timestamp | None = None,
        port: int = 0,
    ) -> None:
        self.quotes = Quotes(load_datadir(Path(candles)) if isinstance(candles, str | Path) else candles)
        self.now = now
        self.moved_by = pd.Timedelta(0)
        if replay_from is not None:
            step = pd.Timedelta(self.quotes.longest_step, "ms")
            self.moved_by = (pd.Timestamp.now("UTC") - _utc(replay_from)) // step * step
        self.requests: list[str] = []  # path and query of each, in the order of arrival
        self.on_request: Callable[[str], None] = lambda address: None
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._port = port
        self._server: _Server | None = None

    def __enter__(self) -> "FakeBinance":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens; the port stays the same when it is stopped and started again."""
        return f"http://127.0.0.1:{self._port}"

    def exchange_options(self, trading_mode: str = "spot") -> dict[str, Any]:
        """Keys of freqtrade's `exchange` block that send every request here."""
        return exchange_options(self.url, trading_mode)

    def start(self) -> None:
        """Listen."""
        self._server = _Server(("127.0.0.1", self._port), self)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Close the port and every connection, in the middle of an answer if need be."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.close_connections()
            self._server = None

    def fail(self, *faults: Fault) -> None:
        """Let these faults happen, each to the requests that it fits; the first one that fits is taken."""
        with self._lock:
            self._faults.extend(faults)

    def mend(self) -> None:
        """Let no more faults happen."""
        with self._lock:
            self._faults.clear()

    def fault_of(self, address: str) -> Fault | None:
        """The fault that befalls this request, counted as used."""
        with self._lock:
            self.requests.append(address)
            for fault in self._faults:
                if fault.match in address and fault.times:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Answer]:
        """Status and body of the answer to a request."""
        _, api, _, name = [*path.split("/", 3), "", "", ""][:4]
        route = ROUTES.get(name)
        if route is None:
            return 404, {"code": -1, "msg": f"the fake Binance does not know {path}"}
        try:
            return 200, route(self.moment(), KINDS.get(api, "spot"), query)
        except LookupError as error:
            return 400, {"code": -1121, "msg": f"Invalid symbol, interval or time: {error}"}

    def moment(self) -> Moment:
        """What it shows now."""
        date = pd.Timestamp.now("UTC") - self.moved_by if self.now is None else _utc(self.now)
        millisecond = pd.Timedelta(1, "ms")
        return Moment(self.quotes, (date - pd.Timestamp(0, tz="UTC")) // millisecond, self.moved_by // millisecond)


def _utc(date: str | pd.Timestamp) -> pd.Timestamp:
    date = pd.Timestamp(date)
    return date.tz_localize("UTC") if date.tz is None else date.tz_convert("UTC")


class _Server(ThreadingHTTPServer):
    """Threads that end with the process, and connections that can be closed."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], fake: FakeBinance) -> None:
        self.fake = fake
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def process_request(self, request: socket.socket, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):  # the other side was quicker
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that was killed is no error of ours
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as Binance's do
    wbufsize = -1  # an answer goes out in one piece: two would wait for each other
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        fake = self.server.fake
        fault = fake.fault_of(self.path)
        fake.on_request(self.path)
        address = urlsplit(self.path)
        status, body = fake.answer(address.path, dict(parse_qsl(address.query)))
        headers = {}
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault and fault.kind == "empty":
            body = []
        if fault and fault.kind == "status":
            status, body = fault.status, {"code": -1003, "msg": "Too much request weight used."}
            headers = {"Retry-After": str(math.ceil(fault.seconds))}
        raw = b"<html>out of order</html>" if status >= 500 else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        if fault and fault.kind == "cut":
            self.wfile.write(raw[: len(raw) // 2])
            self.close_connection = True
        else:
            self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Say nothing: `FakeBinance.requests` has them all."""


def main(arguments: list[str] | None = None) -> None:
    """Serve a data folder until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m agent_market.testing.fake_binance", description=__doc__)
    parser.add_argument("--datadir", type=Path, required=True, help="freqtrade's data folder of one exchange")
    parser.add_argument("--port", type=int, default=8765)
    clock = parser.add_mutually_exclusive_group()
    clock.add_argument("--now", help="a date at which the exchange's clock stands; none = the real clock")
    clock.add_argument("--replay-from", help="move the candles in time, so that this date is now and time flows on")
    options = parser.parse_args(arguments)
    with FakeBinance(options.datadir, now=options.now, replay_from=options.replay_from, port=options.port) as fake:
        sys.stdout.write(f"{fake.url} serves {options.datadir}; candles are moved by {fake.moved_by}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
