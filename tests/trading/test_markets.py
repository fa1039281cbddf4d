import json

import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.trading import snapshot_markets


def test_tick_and_step_follow_from_the_prices(written_candles):
    candles = written_candles(BTC_USDT=[64000.5, 65000.25, 61000], SHIB_USDT=[1.2e-5, 1.234e-5, 1.1e-5])
    markets = snapshot_markets(candles, fee=0.001, trading_mode="spot")
    # 0.1 / 65000.25 = 1.5e-6 -> 1e-6, worth 0.065; a coin of 1e-5 is traded in whole coins
    assert markets["BTC/USDT"]["precision"] == {"amount": 1e-6, "price": 0.01}
    assert markets["SHIB/USDT"]["precision"] == {"amount": 1.0, "price": 1e-8}
    assert markets["BTC/USDT"]["limits"]["cost"]["min"] == 5.0
    assert markets["BTC/USDT"]["taker"] == markets["BTC/USDT"]["maker"] == 0.001


def test_futures_are_linear_swaps_of_one_coin(written_candles):
    market = snapshot_markets(written_candles(BTC_USDT_USDT=[64000.5]), fee=0, trading_mode="futures")["BTC/USDT:USDT"]
    assert (market["base"], market["quote"], market["settle"]) == ("BTC", "USDT", "USDT")
    assert (market["type"], market["swap"], market["linear"], market["contractSize"]) == ("swap", True, True, 1.0)


def test_snapshot_survives_json_and_does_not_hang_on_the_order_of_rows(random_candles):
    candles = random_candles(["A/USDT", "B/USDT"], 20)
    markets = snapshot_markets(candles, fee=0.001, trading_mode="spot")
    shuffled = snapshot_markets(candles.sample(frac=1, random_state=0), fee=0.001, trading_mode="spot")
    assert json.loads(json.dumps(markets)) == markets
    assert json.dumps(markets) == json.dumps(shuffled)


@pytest.mark.parametrize(
    ("pair", "mode", "remedy"),
    [
        ("BTC_USDT", "futures", "set market.trading_mode to spot"),
        ("BTC_USDT_USDT", "spot", "set market.trading_mode to futures"),
        ("BTCUSDT", "spot", "BASE/QUOTE"),
    ],
)
def test_pair_that_does_not_fit_the_trading_mode_is_refused(written_candles, pair, mode, remedy):
    with pytest.raises(DataError, match=remedy):
        snapshot_markets(written_candles(**{pair: [1.5]}), fee=0, trading_mode=mode)


def test_unknown_trading_mode_is_refused(written_candles):
    with pytest.raises(ParameterError, match=r"market.trading_mode is 'margin'; expected one of spot, futures"):
        snapshot_markets(written_candles(A_USDT=[1.5]), fee=0, trading_mode="margin")
