import pandas as pd
import pytest
from freqtrade.exceptions import OperationalException

from agent_market.trading.freqtrade_strategy import AgentMarketStrategy
from agent_market.trading.signals import SIGNALS

PAIR = "A/USDT:USDT"
DATES = pd.date_range("2024-01-01", periods=4, freq="h", tz="UTC", unit="ms")
FOLLOWED = [[1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 1, 1]]  # the fourth candle has no row: flat
FLAT = [0, 1, 0, 1]


@pytest.fixture
def table() -> pd.DataFrame:
    """The signals of three of four candles."""
    signals = pd.DataFrame(FOLLOWED, columns=SIGNALS).astype(bool)
    return signals.assign(pair=PAIR, date=DATES[:3], size=[0.5, 1.0, 0.25])


@pytest.fixture
def file(table, tmp_path):
    """A file with the signals of two models."""
    path = tmp_path / "signals.parquet"
    pd.concat([table.assign(model="ridge"), table.assign(model="lightgbm", enter_long=True)]).to_parquet(path)
    return path


def _strategy(settings, mode="futures") -> AgentMarketStrategy:
    strategy = AgentMarketStrategy({"agent_market": settings, "trading_mode": mode})
    strategy.bot_start()
    return strategy


def _signals(strategy, *, pair=PAIR, unit="ms"):
    candles = pd.DataFrame({"date": DATES.as_unit(unit)})
    for populate in (strategy.populate_indicators, strategy.populate_entry_trend, strategy.populate_exit_trend):
        candles = populate(candles, {"pair": pair})
    return candles


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_signals_are_those_of_the_chosen_model_whatever_the_unit_of_dates(file, unit):
    candles = _signals(_strategy({"signals": str(file), "model": "ridge"}), unit=unit)
    assert candles[SIGNALS].to_numpy().tolist() == [*FOLLOWED, FLAT]
    assert candles["enter_tag"].fillna("none").tolist() == ["long", "short", "long", "none"]


def test_pair_without_signals_is_flat(file):
    candles = _signals(_strategy({"signals": str(file), "model": "ridge"}), pair="B/USDT:USDT")
    assert candles[SIGNALS].to_numpy().tolist() == [FLAT] * 4


def test_a_table_of_positions_is_read_as_the_signals_that_hold_them(tmp_path):
    path = tmp_path / "positions.feather"
    pd.DataFrame({"pair": PAIR, "date": DATES, "position": [0.5, -1.0, 0.0, None]}).to_feather(path)
    strategy = _strategy({"signals": str(path)})
    assert _signals(strategy)[SIGNALS].to_numpy().tolist() == [[1, 0, 0, 1], [0, 1, 1, 0], FLAT, FLAT]
    assert strategy.custom_stake_amount(PAIR, DATES[1].to_pydatetime(), 100.0) == 50


@pytest.mark.parametrize(("minute", "size"), [(0, 0.5), (59, 0.5), (60, 1.0), (200, 0.0)])
def test_a_stake_is_scaled_by_the_size_of_the_last_closed_candle(file, minute, size):
    strategy = _strategy({"signals": str(file), "model": "ridge"})
    now = (DATES[1] + pd.Timedelta(minutes=minute)).to_pydatetime()
    assert strategy.custom_stake_amount(pair=PAIR, current_time=now, proposed_stake=200.0, side="long") == 200 * size


def test_leverage_is_the_configured_one(file):
    settings = {"signals": str(file), "model": "ridge"}
    assert _strategy(settings).leverage(PAIR, proposed_leverage=1.0) == 1
    assert _strategy(settings | {"leverage": 3}).leverage(PAIR, proposed_leverage=1.0) == 3


def test_shorts_need_futures():
    assert AgentMarketStrategy({"trading_mode": "futures"}).can_short
    assert not AgentMarketStrategy({"trading_mode": "spot"}).can_short


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "lacks agent_market.signals"),
        ({"signals": "/nowhere/signals.parquet"}, "does not exist"),
        ({"signals": "FILE", "model": "xgboost"}, "'xgboost'; the file holds lightgbm, ridge"),
        ({"signals": "FILE"}, "agent_market.model is None"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_set(file, settings, message):
    settings = {name: str(file) if value == "FILE" else value for name, value in settings.items()}
    with pytest.raises(OperationalException, match=message):
        _strategy(settings)


def test_table_without_a_column_is_refused(table, tmp_path):
    path = tmp_path / "signals.feather"
    table.drop(columns=["exit_short", "size"]).to_feather(path)
    with pytest.raises(OperationalException, match="lacks the columns exit_short, size"):
        _strategy({"signals": str(path)})
