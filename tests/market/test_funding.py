"""Funding rates from freqtrade's files, in the forms that it has kept them in."""

import logging

import numpy as np
import pandas as pd
import pytest

from agent_market.market import MarketOptions, clean_candles, load_candles, load_funding
from agent_market.schemas import FundingRates
from exchanges import funding, hourly

PAIR = "BTC/USDT:USDT"


def options(datadir, **values):
    return MarketOptions(source="freqtrade_datadir", datadir=str(datadir), trading_mode="futures", **values)


def table(wanted):
    candles, _ = clean_candles(load_candles(wanted), wanted)
    return FundingRates.validate(load_funding(candles, wanted))


@pytest.fixture
def folder(tmp_path):
    """Two days of candles and mark prices, without rates."""
    (tmp_path / "futures").mkdir()
    candles = hourly(48)
    candles.to_feather(tmp_path / "futures" / "BTC_USDT_USDT-1h-futures.feather")
    mark = candles.assign(open=candles["open"] + 1, volume=0.0)
    mark.to_feather(tmp_path / "futures" / "BTC_USDT_USDT-1h-mark.feather")
    return tmp_path / "futures"


@pytest.fixture
def warnings(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("agent_market"), "propagate", True)
    caplog.set_level(logging.WARNING)
    return caplog


def test_a_rate_is_joined_with_the_open_of_the_mark_candle_of_its_full_minute(folder, warnings):
    funding(6).to_feather(folder / "BTC_USDT_USDT-1h-funding_rate.feather")
    rates = table(options(folder.parent))
    opens = hourly(48).set_index("date")["open"] + 1
    assert rates["date"].tolist() == pd.date_range("2024-01-01", periods=6, freq="8h", tz="UTC").tolist()
    assert rates["funding_rate"].tolist() == funding(6)["funding_rate"].tolist()
    assert rates["mark_price"].tolist() == opens[rates["date"]].tolist()
    assert rates["pair"].cat.categories.tolist() == [PAIR]
    assert not warnings.messages


@pytest.mark.parametrize("form", ["candles of eight hours", "json", "parquet"])
def test_each_form_that_freqtrade_has_kept_rates_in_gives_the_same(folder, form):
    rates = funding(6)
    name = folder / "BTC_USDT_USDT-1h-funding_rate"
    rates.to_feather(name.with_suffix(".feather"))
    right = table(options(folder.parent))
    name.with_suffix(".feather").unlink()
    if form == "candles of eight hours":
        old = rates.rename(columns={"funding_rate": "open"}).assign(high=0.0, low=0.0, close=0.0, volume=0.0)
        old.to_feather(folder / "BTC_USDT_USDT-8h-funding_rate.feather")
    elif form == "json":
        rates.assign(date=rates["date"].astype("int64")).to_json(name.with_suffix(".json"), orient="values")
    else:
        rates.to_parquet(name.with_suffix(".parquet"))
    pd.testing.assert_frame_equal(table(options(folder.parent)), right)


def test_rows_without_both_values_or_without_candles_are_left_out(folder):
    rates = funding(12)  # twice as long as there are candles
    rates.loc[1, "funding_rate"] = np.nan
    rates = pd.concat([rates.iloc[::-1], rates.tail(1)], ignore_index=True)
    rates.to_feather(folder / "BTC_USDT_USDT-1h-funding_rate.feather")
    mark = pd.read_feather(folder / "BTC_USDT_USDT-1h-mark.feather").drop(index=16)
    mark.to_feather(folder / "BTC_USDT_USDT-1h-mark.feather")
    dates = pd.date_range("2024-01-01", periods=6, freq="8h", tz="UTC")
    assert table(options(folder.parent))["date"].tolist() == [dates[0], *dates[3:]]


def test_a_span_without_rates_is_told(folder, warnings):
    funding(6).drop(index=[2, 3]).to_feather(folder / "BTC_USDT_USDT-1h-funding_rate.feather")
    table(options(folder.parent))
    (message,) = warnings.messages
    assert "1 spans of up to 1 days 00:00:00, the longest from 2024-01-01 08:00 on" in message


def test_a_folder_without_rates_gives_an_empty_table_and_says_so(folder, warnings):
    rates = table(options(folder.parent))
    assert rates.empty
    assert list(rates) == ["pair", "date", "funding_rate", "mark_price"]
    assert any("no funding rates" in message and PAIR in message for message in warnings.messages)


@pytest.mark.parametrize(("mode", "n_warnings"), [("spot", 0), ("futures", 1)])
def test_a_simulated_market_has_none(mode, n_warnings, warnings):
    wanted = MarketOptions(n_pairs=2, n_candles=50, trading_mode=mode)
    assert table(wanted).empty
    assert len(warnings.messages) == n_warnings


def test_the_empty_table_can_be_stored(tmp_path):
    rates = table(MarketOptions(n_pairs=2, n_candles=50))
    rates.to_parquet(tmp_path / "rates.parquet")
    FundingRates.validate(pd.read_parquet(tmp_path / "rates.parquet"))


def test_the_future_of_the_rates_does_not_move_the_past(folder):
    rates = funding(6)
    rates.to_feather(folder / "BTC_USDT_USDT-1h-funding_rate.feather")
    whole = table(options(folder.parent))
    rates.head(4).to_feather(folder / "BTC_USDT_USDT-1h-funding_rate.feather")
    pd.testing.assert_frame_equal(table(options(folder.parent)), whole.head(4))


def test_real_rates_are_read(shared_dir, warnings):
    wanted = options(shared_dir / "market" / "binance")
    rates = table(wanted)
    assert rates["pair"].value_counts().to_dict() == {PAIR: 2193, "ETH/USDT:USDT": 2193}
    first = rates[rates["pair"] == PAIR].iloc[0]
    assert first["date"] == pd.Timestamp("2020-01-01", tz="UTC")
    assert abs(first["mark_price"] - 7_190) < 30
    assert rates["funding_rate"].abs().max() < 0.01
    assert not warnings.messages
