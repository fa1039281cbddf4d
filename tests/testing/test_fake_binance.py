"""The fake Binance, asked through ccxt as freqtrade asks it."""

import subprocess
import sys
import time
import urllib.error
import urllib.request

import ccxt
import pandas as pd
import pytest

from agent_market.testing import FakeBinance, Fault
from exchanges import funding, hourly

HOUR = 3_600_000
SPOT, FUTURES = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture(scope="module")
def candles():
    return hourly(2000)


@pytest.fixture
def fake(candles):
    mark = candles.assign(open=candles["open"] + 0.01)
    frames = {
        (SPOT, "1h", "spot"): candles,
        (FUTURES, "1h", "futures"): candles,
        (FUTURES, "1h", "mark"): mark,
        (FUTURES, "1h", "funding_rate"): funding(250),
    }
    with FakeBinance(frames, now="2024-02-01 10:30") as server:
        yield server


def client(fake, mode="spot"):
    return ccxt.binance(fake.exchange_options(mode)["ccxt_config"])


def rows(candles, first, last):
    part = candles[candles["date"].between(pd.Timestamp(first, tz="UTC"), pd.Timestamp(last, tz="UTC"))]
    dates = part["date"].astype("int64").tolist()
    return [[date, *values] for date, values in zip(dates, part.drop(columns="date").to_numpy().tolist(), strict=True)]


@pytest.mark.parametrize(("mode", "pair"), [("spot", SPOT), ("futures", FUTURES)])
def test_a_page_begins_at_the_date_asked_for(fake, candles, mode, pair):
    since = pd.Timestamp("2024-01-05 12:00", tz="UTC").value // 10**6
    page = client(fake, mode).fetch_ohlcv(pair, "1h", since=since, limit=5)
    assert page == rows(candles, "2024-01-05 12:00", "2024-01-05 16:00")


def test_nothing_after_now_is_shown_and_the_last_candle_is_unfinished(fake, candles):
    *_, before, last = client(fake).fetch_ohlcv(SPOT, "1h", limit=3)
    assert before == rows(candles, "2024-02-01 09:00", "2024-02-01 09:00")[0]
    (whole,) = rows(candles, "2024-02-01 10:00", "2024-02-01 10:00")
    assert last[:2] == whole[:2]
    assert last[5] == pytest.approx(whole[5] / 2)  # half an hour of it
    assert last[4] == pytest.approx((whole[1] + whole[4]) / 2, abs=0.01)
    assert whole[3] <= last[3] <= last[4] <= last[2] <= whole[2]


def test_a_candle_appears_when_now_moves_on(fake, candles):
    binance = client(fake)
    fake.now = "2024-02-01 11:00"
    assert binance.fetch_ohlcv(SPOT, "1h", limit=2)[0] == rows(candles, "2024-02-01 10:00", "2024-02-01 10:00")[0]


def test_a_hole_is_left_out_and_pages_go_on_behind_it(candles):
    hole = candles["date"].between("2024-01-02 03:00+00:00", "2024-01-02 07:00+00:00")
    with FakeBinance({(SPOT, "1h", "spot"): candles[~hole]}, now="2024-02-01") as fake:
        since = pd.Timestamp("2024-01-02 02:00", tz="UTC").value // 10**6
        dates = [row[0] for row in client(fake).fetch_ohlcv(SPOT, "1h", since=since, limit=3)]
    assert dates == [since, since + 6 * HOUR, since + 7 * HOUR]


def test_markets_have_the_tick_of_their_prices(fake):
    spot, futures = client(fake).load_markets()[SPOT], client(fake, "futures").load_markets()[FUTURES]
    assert spot["precision"]["price"] == futures["precision"]["price"] == 0.01
    assert spot["precision"]["amount"] == 0.0001  # worth a cent at a price of about 100
    assert spot["limits"]["cost"]["min"] == 5
    assert (futures["linear"], futures["contractSize"], spot["spot"], spot["active"]) == (True, 1, True, True)


@pytest.mark.parametrize(("mode", "pair"), [("spot", SPOT), ("futures", FUTURES)])
def test_the_order_book_and_the_ticker_stand_around_the_running_candle(fake, mode, pair):
    binance = client(fake, mode)
    last = binance.fetch_ohlcv(pair, "1h", limit=1)[0][4]
    book, ticker = binance.fetch_order_book(pair, limit=10), binance.fetch_ticker(pair)
    assert [level[0] for level in book["bids"]] == pytest.approx([last - 0.01 * step for step in range(10)])
    assert [level[0] for level in book["asks"]] == pytest.approx([last + 0.01 * (step + 1) for step in range(10)])
    assert (ticker["last"], ticker["bid"]) == (last, last)
    assert ticker["quoteVolume"] > 0
    assert set(binance.fetch_bids_asks([pair])) == {pair}


def test_mark_prices_and_funding_rates_are_those_given(fake, candles):
    binance = client(fake, "futures")
    since = pd.Timestamp("2024-01-05", tz="UTC").value // 10**6
    marks = binance.fetch_ohlcv(FUTURES, "1h", since=since, limit=2, params={"price": "mark"})
    given = [row[1] + 0.01 for row in rows(candles, "2024-01-05 00:00", "2024-01-05 01:00")]
    assert [row[1] for row in marks] == pytest.approx(given)
    rates = binance.fetch_funding_rate_history(FUTURES, since=since, limit=3)
    expected = funding(250)
    expected = expected[expected["date"] >= pd.Timestamp("2024-01-05", tz="UTC")].head(3)
    assert [rate["fundingRate"] for rate in rates] == expected["funding_rate"].tolist()
    assert [rate["timestamp"] for rate in rates] == expected["date"].astype("int64").tolist()
    now = funding(250)["funding_rate"][lambda _: funding(250)["date"] <= "2024-02-01 10:30+00:00"].iloc[-1]
    assert binance.fetch_funding_rates([FUTURES])[FUTURES]["fundingRate"] == now


def test_a_replay_shows_past_candles_as_if_they_were_running_now(candles):
    frames = {(SPOT, "1h", "spot"): candles}
    with FakeBinance(frames, replay_from="2024-02-01 10:00") as fake:
        before, running = client(fake).fetch_ohlcv(SPOT, "1h", limit=2)
        now = time.time() * 1000
        assert abs(client(fake).fetch_time() - now) < 10_000
    assert running[0] <= now < running[0] + HOUR
    moved = fake.moved_by // pd.Timedelta("1ms")
    expected = rows(candles, "2024-02-01 08:00", "2024-02-01 11:00")  # the hour may have changed meanwhile
    assert [before[0] - moved, *before[1:]] in expected


def test_requests_beyond_what_it_knows_are_refused(fake):
    with pytest.raises(ccxt.BadSymbol):
        client(fake).public_get_klines({"symbol": "NOPEUSDT", "interval": "1h"})
    with pytest.raises(ccxt.ExchangeError, match="does not know"):
        client(fake).public_get_avgprice({"symbol": "BTCUSDT"})


def test_faults_happen_as_often_as_asked_and_in_their_place(fake):
    binance = client(fake)
    binance.load_markets()
    fake.fail(Fault("status", skip=1, seconds=7), Fault("status", status=503), Fault("cut"), Fault("empty"))

    def ask():
        return len(binance.fetch_ohlcv(SPOT, "1h", limit=10))

    with pytest.raises(ccxt.ExchangeNotAvailable):  # the first one that fits: 429 lets one pass
        ask()
    with pytest.raises(ccxt.DDoSProtection):
        ask()
    assert binance.last_response_headers["Retry-After"] == "7"
    with pytest.raises(ccxt.NetworkError):
        ask()
    assert [ask(), ask()] == [0, 10]


def test_a_slow_answer_takes_its_time(fake):
    fake.fail(Fault("slow", match="ping", seconds=0.2))
    start = time.monotonic()
    client(fake).public_get_ping()
    assert time.monotonic() - start >= 0.2


def test_a_server_that_stops_cuts_its_connections_and_comes_back_on_its_port(fake):
    binance = client(fake)
    binance.load_markets()
    fake.stop()
    with pytest.raises(ccxt.NetworkError):
        binance.public_get_ping()
    fake.start()
    assert binance.public_get_ping() == {}


def test_it_serves_a_data_folder_from_the_command_line(candles, tmp_path):
    candles.to_feather(tmp_path / "BTC_USDT-1h.feather")
    command = [sys.executable, "-m", "agent_market.testing.fake_binance", "--datadir", str(tmp_path), "--port", "0"]
    process = subprocess.Popen([*command, "--now", "2024-02-01"], stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().split()[0]
        with urllib.request.urlopen(f"{url}/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=2") as answer:
            assert answer.status == 200
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{url}/api/v3/klines?symbol=ETHUSDT&interval=1h")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_package_does_not_import_it():
    code = (
        "import sys, pkgutil, agent_market.market, agent_market.trading, agent_market.pipeline_registry;"
        "print([name for name in sys.modules if name.startswith('agent_market.testing')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
