"""The embedded engine and freqtrade itself, side by side, on random backtests and on real candles."""

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import AgentMarketError
from agent_market.trading import BacktestOptions, run_freqtrade, simulate, snapshot_markets
from backtests import Backtest, draw_backtest

QUICK, SLOW = range(30), range(30, 630)
SPAN = pd.Timestamp("2021-05-10", tz="UTC"), pd.Timestamp("2021-06-05", tz="UTC")  # prices halved within days
SPOT = ["ADA", "BNB", "BTC", "DOGE", "ETH", "LINK", "LTC", "XRP"]


def _compare(backtest: Backtest) -> pd.DataFrame:
    """The trades that both engines make; none where both refuse the backtest."""
    results, refusals = [], []
    for engine in (simulate, run_freqtrade):
        try:
            results.append(backtest.run(engine))
        except AgentMarketError as error:
            refusals.append(error)
    if refusals:
        assert not results, f"only one engine refuses this: {refusals[0]}\n{backtest}"
        return pd.DataFrame({"exit_reason": [], "funding_fees": []})
    embedded, freqtrade = results
    try:
        pd.testing.assert_frame_equal(embedded.trades, freqtrade.trades, rtol=1e-12, atol=1e-8)
        profit = embedded.trades["profit_abs"].sum()
        assert profit == pytest.approx(freqtrade.summary["profit_total_abs"], rel=1e-13, abs=1e-8)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{backtest}") from None
    return freqtrade.trades


@pytest.mark.parametrize("seed", QUICK)
def test_same_trades_in_a_random_backtest(seed):
    _compare(draw_backtest(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW)
def test_same_trades_in_hundreds_of_random_backtests(seed):
    _compare(draw_backtest(seed))


def test_the_random_backtests_reach_every_rule():
    """What they compare would be worth little if, say, no position was ever liquidated."""
    backtests = [draw_backtest(seed) for seed in range(200)]
    trades = pd.concat([backtest.run(simulate).trades.assign(mode=backtest.trading_mode) for backtest in backtests])
    reasons = trades["exit_reason"].value_counts()
    assert reasons[["exit_signal", "stop_loss", "trailing_stop_loss", "roi", "force_exit", "liquidation"]].min() >= 20
    assert trades["is_short"].mean() > 0.1
    assert trades["leverage"].nunique() > 10
    assert (trades["funding_fees"] != 0).mean() > 0.05
    assert len(trades) > 2000
    kept = [backtest.run(simulate).trades for backtest in backtests[:1]]
    pd.testing.assert_frame_equal(kept[0], draw_backtest(0).run(simulate).trades)  # the seed draws the same again


def _read(shared_dir, file: str, pair: str) -> pd.DataFrame:
    table = pd.read_feather(shared_dir / "market" / "binance" / file)
    return table[table["date"].between(*SPAN)].assign(pair=pair, filled=False)


def _random_signals(candles: pd.DataFrame, *, density: float) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    names = ["enter_long", "exit_long", "enter_short", "exit_short"]
    drawn = {name: rng.random(len(candles)) < density for name in names}
    return candles[["pair", "date"]].assign(**drawn, size=rng.choice([1.0, 0.6], len(candles)))


@pytest.mark.parametrize(
    "options",
    [
        {"max_open_trades": 3},
        {"stake_amount": 2000, "stoploss": -0.03, "minimal_roi": {0: 0.05, 240: 0.02, 720: 0.005, 2000: -1}},
        {
            "stoploss": -0.05,
            "trailing_stop": True,
            "trailing_stop_positive": 0.01,
            "trailing_stop_positive_offset": 0.02,
            "trailing_only_offset_is_reached": True,
            "exit_profit_only": True,
        },
    ],
    ids=["signals", "roi", "trailing"],
)
def test_same_trades_on_real_spot_candles(shared_dir, options):
    tables = [_read(shared_dir, f"{name}_USDT-1h.feather", f"{name}/USDT") for name in SPOT]
    candles = pd.concat(tables, ignore_index=True).astype({"pair": "category"})
    assert len(candles) > 600 * len(SPOT)
    options = BacktestOptions(**options)
    markets = snapshot_markets(candles, fee=options.fee, trading_mode="spot")
    signals = _random_signals(candles, density=0.05)
    assert len(_compare(Backtest(candles, signals, markets, options, "1h", "spot", None))) > 50


@pytest.mark.parametrize(("leverage", "stoploss"), [(1, -0.99), (3, -0.1), (20, -0.99)])
def test_same_trades_on_real_futures_candles_with_funding(shared_dir, leverage, stoploss):
    candles, funding = [], []
    for name in ("BTC", "ETH"):
        pair = f"{name}/USDT:USDT"
        table, mark, rate = (
            _read(shared_dir, f"futures/{name}_USDT_USDT-1h-{kind}.feather", pair)
            for kind in ("futures", "mark", "funding_rate")
        )
        candles.append(table)
        mark, rate = mark.rename(columns={"open": "mark_price"}), rate.rename(columns={"open": "funding_rate"})
        both = rate[["pair", "date", "funding_rate"]].merge(mark[["date", "mark_price"]], on="date")
        funding.append(both)
    candles = pd.concat(candles, ignore_index=True).astype({"pair": "category"})
    options = BacktestOptions(leverage=leverage, stoploss=stoploss, max_open_trades=2)
    markets = snapshot_markets(candles, fee=options.fee, trading_mode="futures")
    signals = _random_signals(candles, density=0.02)
    backtest = Backtest(candles, signals, markets, options, "1h", "futures", pd.concat(funding, ignore_index=True))
    trades = _compare(backtest)
    assert (trades["funding_fees"] != 0).sum() >= 10
    assert ("liquidation" in set(trades["exit_reason"])) == (leverage == 20)
    assert ("stop_loss" in set(trades["exit_reason"])) == (leverage > 1)
