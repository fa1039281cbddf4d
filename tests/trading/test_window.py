import pytest

from agent_market.errors import DataError
from agent_market.trading import BacktestOptions, snapshot_markets
from agent_market.trading.signals import signals_of
from agent_market.trading.window import select_window

PAIR = "AAA/USDT:USDT"


@pytest.fixture
def given(written_candles, written_positions):
    """Candles, signals and markets of a future."""
    candles = written_candles(AAA_USDT_USDT=[100.5, 100, 101, 102])
    markets = snapshot_markets(candles, fee=0, trading_mode="futures")
    return candles, signals_of(written_positions(AAA_USDT_USDT=[1, 1, 0, 0])), markets


def _select(candles, signals, markets):
    return select_window(candles, signals, markets, BacktestOptions(), timeframe="1h", trading_mode="futures")


def test_a_future_without_leverage_tiers_is_refused(given):
    candles, signals, markets = given
    del markets[PAIR]["leverageTiers"]
    with pytest.raises(DataError, match=f"no leverageTiers for {PAIR}; build it anew"):
        _select(candles, signals, markets)


@pytest.mark.parametrize(("column", "price"), [("low", 100.25), ("high", 99.0)])
def test_a_candle_that_does_not_hold_its_open_is_refused(given, column, price):
    """freqtrade would leave an order at such an open unfilled."""
    candles, signals, markets = given
    candles.loc[1, column] = price
    with pytest.raises(DataError, match=rf"open or close of {PAIR} at .*01:00.* is outside low to high"):
        _select(candles, signals, markets)
