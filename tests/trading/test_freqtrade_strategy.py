import pandas as pd
import pytest
from freqtrade.exceptions import OperationalException

from agent_market.trading.freqtrade_strategy import AgentMarketStrategy

DATES = pd.date_range("2024-01-01", periods=4, freq="h", tz="UTC", unit="ms")


@pytest.fixture
def positions(tmp_path):
    """A file with the positions of two models."""
    table = pd.DataFrame({"model": "ridge", "pair": "A/USDT:USDT", "date": DATES, "position": [0.5, -1.0, 0.0, None]})
    path = tmp_path / "positions.parquet"
    pd.concat([table, table.assign(model="lightgbm", position=1.0)]).to_parquet(path)
    return path


def _signals(settings, *, pair="A/USDT:USDT", mode="futures", unit="ms"):
    strategy = AgentMarketStrategy({"agent_market": settings, "trading_mode": mode})
    strategy.bot_start()
    candles = pd.DataFrame({"date": DATES.as_unit(unit)})
    for populate in (strategy.populate_indicators, strategy.populate_entry_trend, strategy.populate_exit_trend):
        candles = populate(candles, {"pair": pair})
    return candles[["enter_long", "exit_long", "enter_short", "exit_short"]].to_numpy().tolist()


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_signals_are_the_levels_of_the_chosen_model_whatever_the_unit_of_dates(positions, unit):
    signals = _signals({"positions": str(positions), "model": "ridge"}, unit=unit)
    assert signals == [[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 1, 0, 1]]


def test_pair_without_positions_is_flat(positions):
    assert _signals({"positions": str(positions), "model": "ridge"}, pair="B/USDT:USDT") == [[0, 1, 0, 1]] * 4


def test_shorts_need_futures(positions):
    assert AgentMarketStrategy({"trading_mode": "futures"}).can_short
    assert not AgentMarketStrategy({"trading_mode": "spot"}).can_short


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "lacks agent_market.positions"),
        ({"positions": "/nowhere/positions.parquet"}, "does not exist"),
        ({"positions": "FILE", "model": "xgboost"}, "'xgboost'; the file holds lightgbm, ridge"),
        ({"positions": "FILE"}, "agent_market.model is None"),
    ],
)
def test_wrong_settings_are_refused_with_what_to_set(positions, settings, message):
    settings = {name: str(positions) if value == "FILE" else value for name, value in settings.items()}
    with pytest.raises(OperationalException, match=message):
        _signals(settings)


def test_table_without_a_column_is_refused(tmp_path):
    path = tmp_path / "positions.feather"
    pd.DataFrame({"pair": ["A/USDT"], "date": DATES[:1]}).to_feather(path)
    with pytest.raises(OperationalException, match="lacks the columns position"):
        _signals({"positions": str(path)})
