"""Candles from an exchange, end to end: freqtrade asks a fake Binance on this machine over HTTP."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.market import MarketOptions, clean_candles, load_candles, load_funding, stored_markets
from agent_market.market import exchange as module
from agent_market.testing import FakeBinance, Fault, exchange_options
from exchanges import funding, hourly
from projects import PROJECT, kedro, only_version, stored

N_CANDLES = 3000  # from 2024-01-01 to 2024-05-04 23:00; a page has 1000 for spot, 499 for futures
END, NOW = "2024-05-01", "2024-05-04 10:30"
PAIRS = {"spot": ("BTC/USDT", "ETH/USDT"), "futures": ("BTC/USDT:USDT", "ETH/USDT:USDT")}
HOLE = "2024-02-10 03:00+00:00", "2024-02-10 07:00+00:00"


@pytest.fixture(scope="module")
def frames():
    """Candles of two pairs, spot and futures; ETH has a hole in both."""
    made = {}
    for number, (spot, futures) in enumerate(zip(*PAIRS.values(), strict=True)):
        candles = hourly(N_CANDLES, seed=number, price=100.0 * (number + 1))
        mark = candles.assign(**{name: candles[name] + 0.01 for name in ("open", "high", "low", "close")}, volume=0.0)
        if number:
            candles = candles[~candles["date"].between(*HOLE)]
        made[spot, "1h", "spot"] = made[futures, "1h", "futures"] = candles
        made[futures, "1h", "mark"], made[futures, "1h", "funding_rate"] = mark, funding(375, seed=number)
    return made


@pytest.fixture
def fake(frames):
    with FakeBinance(frames, now=NOW) as server:
        yield server


@pytest.fixture(autouse=True)
def strangers(monkeypatch):
    """Addresses beyond this machine that something wanted to connect to, all of them refused."""
    asked = []

    def guarded(name, here):
        original = getattr(socket.socket, name)

        def connect(self, address):
            if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
                asked.append(address)
                raise ConnectionRefusedError(f"{address} is not on this machine")
            return original(self, address)

        monkeypatch.setattr(here, name, connect)

    def lookup(host, *arguments, **options):
        if host not in ("127.0.0.1", "localhost", "::1", None):
            asked.append((host, *arguments))
            raise socket.gaierror(f"{host} is not on this machine")
        return original_lookup(host, *arguments, **options)

    original_lookup = socket.getaddrinfo
    guarded("connect", socket.socket)
    guarded("connect_ex", socket.socket)
    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return asked


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "WAITS", (0, 0.01))


def options(fake, folder, mode="spot", **changes):
    wanted = {"pairs": PAIRS[mode], "start": "2024-01-01", "end": END, "trading_mode": mode, **changes}
    wanted = {"exchange_options": fake.exchange_options(mode), "datadir": str(folder), **wanted}
    return MarketOptions(source="exchange", **wanted)


def tables(folder: Path) -> dict[str, pd.DataFrame]:
    return {str(path.relative_to(folder)): pd.read_feather(path) for path in sorted(folder.rglob("*.feather"))}


def assert_same_files(folder: Path, other: Path) -> None:
    ours, theirs = tables(folder), tables(other)
    assert set(ours) == set(theirs)
    for name, table in ours.items():
        pd.testing.assert_frame_equal(table, theirs[name], obj=name)
    assert not list(folder.rglob("*.part"))


def expected(frames, key, start="2024-01-01", end=END):
    table = frames[key]
    date = table["date"].dt.floor("h") if key[2] == "funding_rate" else table["date"]
    inside = (date >= pd.Timestamp(start, tz="UTC")) & (date < pd.Timestamp(end, tz="UTC"))
    return table.assign(date=date)[inside].reset_index(drop=True)


@pytest.fixture(scope="module")
def undisturbed(frames, tmp_path_factory):
    """Folders of one download each, with nothing in its way."""
    folders = {}
    for mode in PAIRS:
        folders[mode] = tmp_path_factory.mktemp(mode)
        with FakeBinance(frames, now=NOW) as fake:
            load_candles(options(fake, folders[mode], mode))
    return folders


@pytest.mark.parametrize("mode", PAIRS)
def test_a_download_has_every_candle_of_the_span_and_no_other(frames, undisturbed, mode):
    files = tables(undisturbed[mode])
    kinds = {"spot": ["spot"], "futures": ["futures", "mark", "funding_rate"]}[mode]
    assert len(files) == len(PAIRS[mode]) * len(kinds)
    for pair in PAIRS[mode]:
        for kind in kinds:
            name = pair.replace("/", "_").replace(":", "_") + ("-1h" if kind == "spot" else f"-1h-{kind}")
            path = f"{name}.feather" if mode == "spot" else f"futures/{name}.feather"
            pd.testing.assert_frame_equal(files[path], expected(frames, (pair, "1h", kind)), obj=path)


def test_the_candles_are_those_of_the_span_pair_by_pair(frames, fake, undisturbed, tmp_path):
    shutil.copytree(undisturbed["spot"], tmp_path, dirs_exist_ok=True)
    candles = load_candles(options(fake, tmp_path, start="2024-02-01", end="2024-03-01"))
    for pair, rows in candles.groupby("pair", observed=True):
        right = expected(frames, (pair, "1h", "spot"), "2024-02-01", "2024-03-01")
        pd.testing.assert_frame_equal(rows.drop(columns="pair").reset_index(drop=True), right)
    assert candles["pair"].cat.categories.tolist() == list(PAIRS["spot"])


@pytest.mark.parametrize("mode", PAIRS)
def test_later_and_earlier_candles_are_added_to_what_is_there(frames, fake, undisturbed, tmp_path, mode):
    spans = [("2024-02-01", "2024-03-01"), ("2024-02-01", "2024-04-01"), ("2024-01-01", "2024-03-01")]
    for start, end in [*spans, ("2024-01-15", END)]:
        load_candles(options(fake, tmp_path, mode, start=start, end=end))
    assert_same_files(tmp_path, undisturbed[mode])


@pytest.mark.parametrize("mode", PAIRS)
def test_what_is_there_is_not_asked_for_again(fake, undisturbed, tmp_path, mode):
    shutil.copytree(undisturbed[mode], tmp_path, dirs_exist_ok=True)
    load_candles(options(fake, tmp_path, mode))
    load_candles(options(fake, tmp_path, mode, start="2024-02-01", end="2024-03-01"))
    assert fake.requests == []


def test_without_an_end_each_run_adds_what_has_ended_since(tmp_path):
    hour = pd.Timedelta("1h")
    begin = pd.Timestamp.now("UTC").floor("h") - 30 * hour
    candles = hourly(60, start=str(begin.tz_localize(None)))
    with FakeBinance({("BTC/USDT", "1h", "spot"): candles}, now=begin + 24.5 * hour) as fake:
        wanted = options(fake, tmp_path, pairs="BTC/USDT", start=str(begin), end=None)
        first = load_candles(wanted)
        assert len(first) == 24
        fake.now = None
        second = load_candles(wanted)
    ended = int((pd.Timestamp.now("UTC") - begin) / hour)
    assert len(second) in (ended, ended - 1)  # the hour may have turned meanwhile
    pd.testing.assert_frame_equal(second.drop(columns="pair"), candles.head(len(second)))


def test_the_file_of_a_candle_seen_unfinished_is_mended(frames, fake, undisturbed, tmp_path):
    damaged = pd.read_feather(undisturbed["spot"] / "BTC_USDT-1h.feather").head(1000)
    damaged.loc[999, ["close", "volume"]] = 1.0  # as a downloader leaves it that keeps the running candle
    damaged.to_feather(tmp_path / "BTC_USDT-1h.feather")
    load_candles(options(fake, tmp_path, pairs="BTC/USDT"))
    right = expected(frames, ("BTC/USDT", "1h", "spot"))
    pd.testing.assert_frame_equal(pd.read_feather(tmp_path / "BTC_USDT-1h.feather"), right)


def test_freqtrades_own_command_leaves_the_same_candles(fake, undisturbed, tmp_path):
    from freqtrade.data.history.history_utils import download_data
    from freqtrade.enums import RunMode
    from freqtrade.resolvers import ExchangeResolver

    config = {
        "dry_run": True,
        "runmode": RunMode.UTIL_EXCHANGE,
        "stake_currency": "",
        "trading_mode": "spot",
        "datadir": tmp_path,
        "pairs": list(PAIRS["spot"]),
        "timeframes": ["1h"],
        "timerange": "20240101-20240501",
        "new_pairs_days": 30,
        "dataformat_ohlcv": "feather",
        "exchange": {"name": "binance", "pair_whitelist": [], **fake.exchange_options()},
    }
    exchange = ExchangeResolver.load_exchange(config, validate=False)
    try:
        download_data(config, exchange)
    finally:
        exchange.close()
    ours = tables(undisturbed["spot"])
    for name, theirs in tables(tmp_path).items():
        theirs["date"] = theirs["date"].dt.as_unit("ms")
        assert len(theirs) > len(ours[name]), "it goes on to the end of its last page"
        pd.testing.assert_frame_equal(theirs.head(len(ours[name])), ours[name])


FAULTS = {
    "429": [Fault("status")],
    "5xx": [Fault("status", status=503, times=3), Fault("status", status=502, times=6)],
    "connection cut": [Fault("cut", times=2), Fault("cut", skip=3, times=6)],
    "slow": [Fault("slow", seconds=0.3)],
    "empty page": [Fault("empty", skip=2, times=1)],
    "empty first page": [Fault("empty", skip=1, times=1)],
    "markets cannot be had": [Fault("status", match="exchangeInfo", status=500, times=5)],
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_costs_time_and_no_candle(fake, undisturbed, tmp_path, impatient, name):
    faults = [Fault(**vars(fault)) for fault in FAULTS[name]]
    fake.fail(*faults)
    load_candles(options(fake, tmp_path))
    assert all(fault.times == 0 for fault in faults), "not every fault happened"
    assert_same_files(tmp_path, undisturbed["spot"])


def test_a_fault_in_funding_rates_costs_none_of_them(fake, undisturbed, tmp_path, impatient):
    fake.fail(Fault("empty", match="fundingRate"), Fault("cut", match="fundingRate"), Fault("cut", match="markPrice"))
    load_candles(options(fake, tmp_path, "futures"))
    assert_same_files(tmp_path, undisturbed["futures"])


def test_a_fault_that_stays_ends_in_an_error_and_what_came_before_is_kept(fake, undisturbed, tmp_path, impatient):
    fake.fail(Fault("status", match="symbol=ETHUSDT", status=503, times=10_000))
    with pytest.raises(DataError, match=r"ETH/USDT 1h spot cannot be downloaded from binance: .*run again"):
        load_candles(options(fake, tmp_path))
    assert set(tables(tmp_path)) == {"BTC_USDT-1h.feather"}
    before = len(fake.requests)
    fake.mend()
    load_candles(options(fake, tmp_path))
    assert not any("BTCUSDT" in request for request in fake.requests[before:])
    assert_same_files(tmp_path, undisturbed["spot"])


def test_a_server_that_restarts_in_the_middle_loses_and_doubles_nothing(fake, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAITS", (0.1, 0.2, 0.4))
    restarts = []

    def restart():
        fake.stop()
        time.sleep(0.2)
        fake.start()

    def third(address):
        if len(fake.requests) in (3, 9):
            restarts.append(address)
            threading.Thread(target=restart).start()
            time.sleep(0.1)

    fake.on_request = third
    load_candles(options(fake, tmp_path))
    assert restarts
    assert_same_files(tmp_path, undisturbed["spot"])


@pytest.fixture(scope="module")
def processes():
    """Processes that have imported freqtrade already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agent_market.market", "freqtrade.exchange", "freqtrade.resolvers", "ccxt.pro"])
    return context


@pytest.mark.parametrize("mode", PAIRS)
def test_a_download_killed_at_any_moment_and_repeated_ends_as_an_undisturbed_one(
    fake, undisturbed, tmp_path, processes, mode, monkeypatch
):
    monkeypatch.setattr(fake, "on_request", lambda address: None)
    wanted = options(fake, tmp_path, mode)
    killed = 0
    # at the n-th request of a process, and some milliseconds after it: while it asks, computes or writes
    for number, later in [(1, 0), (2, 0), (4, 0.01), (3, 0.03), (5, 0.05), (2, 0.08), (6, 0.02), (4, 0)]:
        process = processes.Process(target=load_candles, args=(wanted,))
        fake.requests.clear()

        def strike(address, process=process, number=number, later=later):
            if len(fake.requests) == number:
                time.sleep(later)
                os.kill(process.pid, signal.SIGKILL)

        fake.on_request = strike
        process.start()
        process.join(60)
        killed += process.exitcode == -signal.SIGKILL
        for table in tables(tmp_path).values():  # whole at any moment
            assert table["date"].is_monotonic_increasing
    fake.on_request = lambda address: None
    assert killed >= 4
    load_candles(wanted)
    for part in tmp_path.rglob("*.part"):
        part.unlink()
    assert_same_files(tmp_path, undisturbed[mode])


def test_long_spans_are_stored_piece_by_piece(fake, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 700)
    written = []
    keep = module.write_series
    monkeypatch.setattr(module, "write_series", lambda series, table: (written.append(len(table)), keep(series, table)))
    load_candles(options(fake, tmp_path, pairs="BTC/USDT", start="2024-04-01"))
    load_candles(options(fake, tmp_path, pairs="BTC/USDT"))  # earlier ones, the latest piece first
    load_candles(options(fake, tmp_path))
    assert written[:5] == [700, 720, 720 + 84, 720 + 784, 720 + 1484]
    assert_same_files(tmp_path, undisturbed["spot"])


def test_a_hole_on_the_exchange_stays_a_hole_and_is_counted(fake, undisturbed, tmp_path):
    shutil.copytree(undisturbed["spot"], tmp_path, dirs_exist_ok=True)
    wanted = options(fake, tmp_path, max_fill=0)
    _, quality = clean_candles(load_candles(wanted), wanted)
    assert quality.set_index("pair")[["gaps", "missing", "duplicates"]].to_dict("index") == {
        "BTC/USDT": {"gaps": 0, "missing": 0, "duplicates": 0},
        "ETH/USDT": {"gaps": 1, "missing": 5, "duplicates": 0},
    }


def test_an_unknown_pair_is_named_with_the_nearest(fake, tmp_path):
    with pytest.raises(
        ParameterError, match=r"'BTC/USTD', which binance \(spot\) does not have; did you mean BTC/USDT"
    ):
        load_candles(options(fake, tmp_path, pairs="BTC/USTD"))
    with pytest.raises(ParameterError, match="did you mean BTC/USDT:USDT"):
        load_candles(options(fake, tmp_path, "futures", pairs="BTC/USDT"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exchange": "binanec"}, "market.exchange is 'binanec'; did you mean binance"),
        ({"timeframe": "7m"}, "market.timeframe=7m"),
        ({"start": "2024-04-01", "end": "2024-03-01"}, "market.start=2024-04-01 is not before market.end=2024-03-01"),
    ],
)
def test_a_wrong_parameter_is_named(fake, tmp_path, change, message):
    with pytest.raises(ParameterError, match=message):
        load_candles(options(fake, tmp_path, **change))
    assert fake.requests == []


def test_a_span_before_the_first_candle_is_an_error(fake, tmp_path):
    with pytest.raises(DataError, match="no candles of BTC/USDT in the span"):
        load_candles(options(fake, tmp_path, start="2023-01-01", end="2023-06-01"))


def test_an_exchange_that_cannot_be_reached_is_named_and_so_is_the_way_to_work_offline(
    fake, undisturbed, tmp_path, impatient
):
    fake.stop()
    with pytest.raises(DataError, match=r"binance cannot be reached: .*market.exchange_options$"):
        load_candles(options(fake, tmp_path))
    shutil.copytree(undisturbed["spot"], tmp_path, dirs_exist_ok=True)
    with pytest.raises(DataError, match=r"market.offline=true uses these"):
        load_candles(options(fake, tmp_path, end="2024-05-03"))


def test_offline_the_stored_candles_are_read_and_nothing_is_asked(frames, fake, undisturbed, tmp_path):
    shutil.copytree(undisturbed["spot"], tmp_path, dirs_exist_ok=True)
    wanted = options(fake, tmp_path, end="2024-05-03", offline=True)
    candles = load_candles(wanted)
    pd.testing.assert_frame_equal(candles, load_candles(options(fake, tmp_path)))
    assert set(stored_markets(wanted)) == set(PAIRS["spot"])
    assert fake.requests == []
    with pytest.raises(DataError, match=r"market.offline=true, and what is needed is not stored"):
        load_candles(options(fake, tmp_path / "empty", offline=True))


def test_no_request_leaves_this_machine_and_the_guard_would_see_one(fake, tmp_path, strangers, impatient):
    load_candles(options(fake, tmp_path))
    assert strangers == []
    with pytest.raises(DataError, match="cannot be reached"):
        load_candles(options(fake, tmp_path / "away", exchange_options=exchange_options("http://192.0.2.1:80")))
    assert strangers
    assert {address for address, _ in strangers} == {"192.0.2.1"}


def test_logging_is_left_as_it_was(fake, tmp_path):
    handlers, level = list(logging.root.handlers), logging.root.level
    freqtrade = logging.getLogger("freqtrade")
    before = freqtrade.propagate, freqtrade.level, list(freqtrade.handlers)
    load_candles(options(fake, tmp_path))
    assert (logging.root.handlers, logging.root.level) == (handlers, level)
    assert (freqtrade.propagate, freqtrade.level, list(freqtrade.handlers)) == before


def test_other_files_of_the_folder_are_not_touched(fake, undisturbed, tmp_path):
    strangers = {name: tmp_path / name for name in ("XRP_USDT-1h.feather", "BTC_USDT-5m.feather", "notes.txt")}
    for name, path in strangers.items():
        path.write_bytes(name.encode())
        os.utime(path, (1, 1))
    load_candles(options(fake, tmp_path))
    for name, path in strangers.items():
        assert (path.read_bytes(), path.stat().st_mtime) == (name.encode(), 1)


def test_a_damaged_file_and_one_of_another_format_are_named(fake, tmp_path):
    (tmp_path / "BTC_USDT-1h.feather").write_bytes(b"ARROW1 and then nothing")
    with pytest.raises(DataError, match=r"BTC_USDT-1h.feather cannot be read"):
        load_candles(options(fake, tmp_path))
    (tmp_path / "BTC_USDT-1h.feather").rename(tmp_path / "BTC_USDT-1h.json")
    with pytest.raises(DataError, match=r"BTC_USDT-1h.json holds BTC/USDT 1h spot, but .*convert-data"):
        load_candles(options(fake, tmp_path))


def test_markets_are_stored_as_the_exchange_has_them(fake, undisturbed):
    spot = stored_markets(options(fake, undisturbed["spot"]))["BTC/USDT"]
    assert (spot["precision"]["price"], spot["limits"]["cost"]["min"], spot["taker"]) == (0.01, 5, 0.001)
    futures = stored_markets(options(fake, undisturbed["futures"], "futures"))["ETH/USDT:USDT"]
    assert futures["taker"] == 0.0005
    assert futures["leverageTiers"][0]["minNotional"] == 0
    assert futures["leverageTiers"][0]["maxLeverage"] >= 100


def test_markets_that_were_never_downloaded_are_an_error(fake, undisturbed, tmp_path):
    shutil.copy(undisturbed["spot"] / "BTC_USDT-1h.feather", tmp_path)
    with pytest.raises(DataError, match=r"no record of the exchange's rules for BTC/USDT"):
        stored_markets(options(fake, tmp_path, pairs="BTC/USDT", offline=True))


def test_funding_of_a_download_is_paid_at_the_open_of_the_mark_candle(frames, fake, undisturbed):
    wanted = options(fake, undisturbed["futures"], "futures", offline=True)
    candles, _ = clean_candles(load_candles(wanted), wanted)
    table = load_funding(candles, wanted)
    for pair, rows in table.groupby("pair", observed=True):
        rates = expected(frames, (pair, "1h", "funding_rate"))
        marks = expected(frames, (pair, "1h", "mark")).set_index("date")["open"]
        assert rows["date"].tolist() == rates["date"].tolist()
        assert rows["funding_rate"].tolist() == rates["funding_rate"].tolist()
        assert rows["mark_price"].tolist() == marks[rates["date"]].tolist()


def test_a_run_of_the_pipeline_downloads_below_the_data_root(frames, tmp_path):
    conf, data = tmp_path / "conf", tmp_path / "data"
    shutil.copytree(PROJECT / "conf", conf)
    with FakeBinance(frames, now=NOW) as fake:
        wanted = options(fake, "", "futures", datadir=None).model_dump(include={"exchange_options"})
        (conf / "local" / "parameters.yml").write_text(json.dumps({"market": wanted}))
        parameters = f"market.source=exchange,market.trading_mode=futures,market.pairs={' '.join(PAIRS['futures'])}"
        parameters += f",market.start=2024-01-01,market.end={END}"
        command = ["run", "--conf-source", str(conf), "--pipelines", "data_engineering", "--params", parameters]
        run = kedro(*command, data=data)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "data_engineering.snapshot_market" in run.stderr, "what comes after the download is still logged"
    assert (data / "01_raw" / "binance" / "futures" / "BTC_USDT_USDT-1h-mark.feather").exists()
    made = stored(data)
    assert {"03_primary/candles.parquet", "03_primary/funding_rates.parquet"} <= set(made)
    rates = pd.read_parquet(only_version(data, "03_primary/funding_rates.parquet"))
    assert rates["pair"].value_counts().to_dict() == dict.fromkeys(PAIRS["futures"], 363)
