import numpy as np
import pandas as pd
import pytest

from agent_market.errors import ParameterError
from agent_market.market import MarketOptions, planted_expectation, simulate, simulated_pairs
from agent_market.market.simulated import _draw_market

SMALL = {"n_pairs": 4, "n_candles": 600, "seed": 5}


def table(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.pivot(index="date", columns="pair", values=column)


def realised(candles: pd.DataFrame, horizon: int) -> pd.DataFrame:
    opens = table(candles, "open")
    return opens.shift(-1 - horizon) / opens.shift(-1) - 1


def mean_rank_ic(expected: pd.DataFrame, label: pd.DataFrame) -> tuple[float, float]:
    """Mean over dates of the rank correlation across pairs, and its t value for dates that do not overlap."""
    known = label.notna().all(axis=1)
    ic = expected[known].rank(axis=1).corrwith(label[known].rank(axis=1), axis=1)
    return ic.mean(), ic.mean() / ic.sem()


def test_same_seed_gives_the_same_candles_and_another_seed_gives_others():
    first, again = simulate(MarketOptions(**SMALL)), simulate(MarketOptions(**SMALL))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    other = simulate(MarketOptions(**{**SMALL, "seed": 6}))
    assert (first["close"] != other["close"]).mean() > 0.99


def test_more_candles_or_more_pairs_leave_the_others_alone():
    small = simulate(MarketOptions(**SMALL))
    longer = simulate(MarketOptions(**{**SMALL, "n_candles": 700}))
    wider = simulate(MarketOptions(**{**SMALL, "n_pairs": 6}))
    for column in ["open", "high", "low", "close", "volume"]:
        expected = table(small, column)
        np.testing.assert_array_equal(table(longer, column).iloc[:600], expected)
        np.testing.assert_array_equal(table(wider, column)[expected.columns], expected)


def test_candles_have_the_shape_of_candles():
    candles = simulate(MarketOptions(**SMALL))
    assert candles.columns.tolist() == ["pair", "date", "open", "high", "low", "close", "volume"]
    assert candles["date"].dtype == "datetime64[ms, UTC]"
    assert candles["date"].min() == pd.Timestamp("2023-01-01", tz="UTC")
    assert candles["pair"].cat.categories.tolist() == ["BTC/USDT", "ETH/USDT", "SIM01/USDT", "SIM02/USDT"]
    assert (candles.groupby("pair", observed=True).size() == 600).all()
    assert (candles["low"] <= candles[["open", "close"]].min(axis=1)).all()
    assert (candles["high"] >= candles[["open", "close"]].max(axis=1)).all()
    assert (candles["low"] > 0).all()
    assert (candles["volume"] > 0).all()
    for _, rows in candles.groupby("pair", observed=True):
        np.testing.assert_array_equal(rows["open"].iloc[1:], rows["close"].iloc[:-1])


def test_prices_are_whole_ticks_with_six_digits_at_the_start():
    candles = simulate(MarketOptions(**SMALL))
    for pair, rows in candles.groupby("pair", observed=True):
        digits = 5 - int(np.floor(np.log10(rows["open"].iloc[0])))
        prices = rows[["open", "high", "low", "close"]].to_numpy().ravel()
        written = np.array([float(f"{price:.{digits}f}") for price in prices])
        np.testing.assert_array_equal(prices, written, err_msg=str(pair))
        some_finer = [round(price, digits - 1) != price for price in prices]
        assert np.mean(some_finer) > 0.8


def test_futures_pairs_carry_their_settlement_currency():
    assert simulated_pairs(MarketOptions(n_pairs=3, trading_mode="futures")) == [
        "BTC/USDT:USDT",
        "ETH/USDT:USDT",
        "SIM01/USDT:USDT",
    ]
    assert simulated_pairs(MarketOptions(n_pairs=1)) == ["BTC/USDT"]


def test_pairs_can_be_chosen_and_an_unknown_one_is_refused_with_the_nearest_name():
    some = simulate(MarketOptions(**SMALL, pairs="SIM02/USDT BTC/USDT"))
    everything = simulate(MarketOptions(**SMALL))
    assert some["pair"].cat.categories.tolist() == ["BTC/USDT", "SIM02/USDT"]
    np.testing.assert_array_equal(table(some, "close"), table(everything, "close")[["BTC/USDT", "SIM02/USDT"]])
    with pytest.raises(ParameterError, match=r"market.pairs.*SIM2/USDT.*did you mean.*SIM02/USDT"):
        simulate(MarketOptions(**SMALL, pairs="SIM2/USDT"))


def test_the_signal_leaves_volatility_state_wicks_and_volume_alone():
    """The paired control: nothing but the mean differs between a market with a signal and its placebo."""
    placebo, strong = MarketOptions(**SMALL, signal_strength=0), MarketOptions(**SMALL, signal_strength=0.3)
    one, other = _draw_market(placebo), _draw_market(strong)
    for name in ["state", "volatility", "season", "noise", "wick", "activity"]:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(simulate(placebo)["volume"], simulate(strong)["volume"])
    assert (simulate(placebo)["close"] != simulate(strong)["close"]).mean() > 0.9


def test_without_signal_the_expectation_is_exactly_zero():
    for horizon in (1, 24):
        expected = planted_expectation(MarketOptions(**SMALL, signal_strength=0), horizon)["expected"]
        assert (expected == 0).all()


def test_without_signal_returns_have_no_mean_and_the_visible_state_foretells_nothing():
    """Over 20 markets: mean standardised return, and its correlation with the state that the wicks show."""
    means, correlations = [], []
    for seed in range(20):
        options = MarketOptions(n_pairs=4, n_candles=2000, seed=seed, signal_strength=0)
        market = _draw_market(options)
        returns = table(simulate(options), "close").pct_change().to_numpy()[1:] / market.volatility[1:-1]
        means.append(returns.mean())
        correlations.append(np.corrcoef(returns.ravel(), market.state[1:-1].ravel())[0, 1])
    for values in (means, correlations):
        assert abs(np.mean(values)) < 3.5 * np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(correlations)) < 3.5 / np.sqrt(20 * 4 * 2000)


@pytest.mark.parametrize("strength", [0.05, 0.2])
def test_strength_is_the_correlation_of_state_and_standardised_next_return(strength):
    options = MarketOptions(n_pairs=8, n_candles=6000, seed=3, signal_strength=strength)
    market = _draw_market(options)
    returns = table(simulate(options), "close").pct_change().to_numpy()[1:] / market.volatility[1:-1]
    # the common factor ties the pairs together: eight of them count as about four
    found = [np.corrcoef(returns[:, pair], market.state[1:-1, pair])[0, 1] for pair in range(8)]
    assert abs(np.mean(found) - strength) < 3.5 / np.sqrt(6000 * 4)


def test_state_is_standard_normal_with_the_half_life_asked_for():
    market = _draw_market(MarketOptions(n_pairs=20, n_candles=8000, signal_half_life=6))
    assert abs(market.state.std() - 1) < 0.03
    lagged = np.mean(market.state[:-6] * market.state[6:])
    assert abs(lagged - 0.5) < 0.03


def test_wicks_of_a_candle_show_the_state_that_moves_the_next_one():
    options = MarketOptions(**SMALL)
    candles = simulate(options)
    lower = candles[["open", "close"]].min(axis=1) - candles["low"]
    upper = candles["high"] - candles[["open", "close"]].max(axis=1)
    imbalance = ((lower - upper) / (lower + upper)).to_numpy().reshape(4, 600).T
    known = np.isfinite(imbalance)
    state = _draw_market(options).state[1:]
    assert np.corrcoef(imbalance[known], np.tanh(0.6 * state)[known])[0, 1] > 0.995


@pytest.mark.parametrize(("horizon", "least_t"), [(1, 10), (12, 5)])
def test_the_planted_expectation_ranks_the_realised_returns(horizon, least_t):
    options = MarketOptions(n_candles=6000, seed=2, signal_strength=0.05)
    expected = table(planted_expectation(options, horizon), "expected")
    label = realised(simulate(options), horizon)
    # every horizon-th date only: labels that do not overlap, so that the naive error holds
    assert mean_rank_ic(expected.iloc[::horizon], label.iloc[::horizon])[1] > least_t
    scrambled = expected.sample(frac=1, random_state=0).set_axis(expected.index)
    assert abs(mean_rank_ic(scrambled.iloc[::horizon], label.iloc[::horizon])[1]) < 3.5


@pytest.mark.parametrize("horizon", [1, 4, 24])
def test_realised_returns_regress_on_the_planted_expectation_with_slope_one(horizon):
    """Over 12 markets with a strong signal, so that the slope is known to a few percent."""
    slopes = []
    for seed in range(12):
        options = MarketOptions(n_pairs=6, n_candles=2000, seed=seed, signal_strength=0.2)
        expected = table(planted_expectation(options, horizon), "expected").to_numpy()
        label = realised(simulate(options), horizon).to_numpy()
        known = np.isfinite(label)
        slopes.append((expected[known] * label[known]).sum() / (expected[known] ** 2).sum())
    error = np.std(slopes, ddof=1) / np.sqrt(len(slopes))
    assert error < 0.05
    # the formula lets volatility follow the clock only; reverting to its mean, it strays by a few percent
    assert abs(np.mean(slopes) - 1) < 3.5 * error + (0.0 if horizon == 1 else 0.05)


def test_expectation_has_a_row_for_each_candle_and_uses_no_later_one():
    options = MarketOptions(**SMALL)
    expected = planted_expectation(options, 12)
    pd.testing.assert_frame_equal(expected[["pair", "date"]], simulate(options)[["pair", "date"]])
    assert expected["expected"].notna().all()
    longer = planted_expectation(MarketOptions(**{**SMALL, "n_candles": 900}), 12)
    np.testing.assert_array_equal(table(longer, "expected").iloc[:600], table(expected, "expected"))


def test_expectation_of_another_source_or_no_horizon_is_refused():
    with pytest.raises(ParameterError, match="freqtrade_datadir"):
        planted_expectation(MarketOptions(source="freqtrade_datadir", datadir="x"), 1)
    with pytest.raises(ParameterError, match="1 or more"):
        planted_expectation(MarketOptions(**SMALL), 0)
