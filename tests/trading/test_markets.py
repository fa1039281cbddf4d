import json

import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.trading import snapshot_markets
from agent_market.trading.markets import DEFAULT_TIER, leverage_tiers, select_markets


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


def test_a_future_has_the_leverage_tiers_that_freqtrade_backtests_with(written_candles):
    markets = snapshot_markets(
        written_candles(BTC_USDT_USDT=[64000.5], AAA_USDT_USDT=[1.5]), fee=0, trading_mode="futures"
    )
    first, second = markets["BTC/USDT:USDT"]["leverageTiers"][:2]
    assert (first["minNotional"], first["maintAmt"]) == (0, 0)
    assert second["minNotional"] == first["maxNotional"]
    # what a position at the bound must keep is the same by either tier
    kept = [second["minNotional"] * tier["maintenanceMarginRate"] - tier["maintAmt"] for tier in (first, second)]
    assert kept[0] == pytest.approx(kept[1])
    assert markets["AAA/USDT:USDT"]["leverageTiers"] == [DEFAULT_TIER]


def test_tiers_are_those_that_freqtrade_itself_reads():
    from freqtrade.exchange import Binance

    exchange = Binance.__new__(Binance)
    exchange._leverage_tiers, exchange._config, exchange.trading_mode = {}, {"dry_run": True}, "futures"
    exchange.fill_leverage_tiers()
    assert {pair: leverage_tiers(pair) for pair in exchange._leverage_tiers} == exchange._leverage_tiers
    exchange._leverage_tiers = None  # nothing to close


def test_spot_markets_have_no_leverage(written_candles):
    assert (
        "leverageTiers"
        not in snapshot_markets(written_candles(BTC_USDT=[64000.5]), fee=0, trading_mode="spot")["BTC/USDT"]
    )


@pytest.fixture
def listed():
    """Two markets as ccxt lists them."""
    future = {"symbol": "BTC/USDT:USDT", "swap": True, "taker": 0.0005, "maker": 0.0002, "info": {"much": "more"}}
    return {"BTC/USDT:USDT": future | {"active": False}, "ETH/USDT": {"symbol": "ETH/USDT", "swap": False, "info": {}}}


def test_selected_markets_keep_what_the_exchange_says_but_for_the_fee(listed):
    before = json.dumps(listed)
    markets = select_markets(listed, ["BTC/USDT:USDT"], fee=0.001)
    assert list(markets) == ["BTC/USDT:USDT"]
    market = markets["BTC/USDT:USDT"]
    assert (market["taker"], market["maker"], market["info"], market["active"]) == (0.001, 0.001, {}, True)
    assert market["leverageTiers"] == leverage_tiers("BTC/USDT:USDT")
    assert json.dumps(listed) == before
    assert select_markets(listed, ["BTC/USDT:USDT"], fee=None)["BTC/USDT:USDT"]["taker"] == 0.0005
    assert "leverageTiers" not in select_markets(listed, ["ETH/USDT"], fee=None)["ETH/USDT"]


def test_selected_markets_keep_tiers_that_the_exchange_gave(listed):
    listed["BTC/USDT:USDT"]["leverageTiers"] = [DEFAULT_TIER]
    assert select_markets(listed, ["BTC/USDT:USDT"], fee=None)["BTC/USDT:USDT"]["leverageTiers"] == [DEFAULT_TIER]


def test_a_pair_that_the_exchange_does_not_list_is_refused(listed):
    with pytest.raises(DataError, match=r"does not list BTC/USDT:USD; did you mean BTC/USDT:USDT\. Set market\.pairs"):
        select_markets(listed, ["BTC/USDT:USD"], fee=None)


def test_snapshot_survives_json_and_does_not_hang_on_the_order_of_rows(random_candles):
    candles = random_candles(["A/USDT:USDT", "B/USDT:USDT"], 20)
    markets = snapshot_markets(candles, fee=0.001, trading_mode="futures")
    shuffled = snapshot_markets(candles.sample(frac=1, random_state=0), fee=0.001, trading_mode="futures")
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
