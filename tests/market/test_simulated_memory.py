"""The planted signal that one candle does not show: noise over the state, and a pattern of two candles."""

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import ParameterError
from agent_market.market import MarketOptions, optimal_expectation, planted_expectation, simulate
from agent_market.market.simulated import WICK_SLOPE, _draw_market

SMALL = {"n_pairs": 4, "n_candles": 600, "seed": 5}
NOISY = {"n_pairs": 6, "n_candles": 6000, "seed": 1, "signal_strength": 0.15, "signal_noise": 3.0}
PATTERN = NOISY | {"signal_kind": "pattern", "signal_noise": 0.5}


def table(frame: pd.DataFrame, column: str) -> np.ndarray:
    return frame.pivot(index="date", columns="pair", values=column).to_numpy()


def shown_by_wicks(candles: pd.DataFrame) -> np.ndarray:
    """What the wicks of the published candles show, as a model would compute it; NaN without both wicks."""
    lower = np.log(candles[["open", "close"]].min(axis=1) / candles["low"])
    upper = np.log(candles["high"] / candles[["open", "close"]].max(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = np.log(lower / upper) / WICK_SLOPE
    return table(candles.assign(shown=shown.where(np.isfinite(shown))), "shown")


def next_moves(options: MarketOptions) -> np.ndarray:
    """Return of the next candle over its volatility, for each candle but the last."""
    closes = table(simulate(options), "close")
    return (closes[1:] / closes[:-1] - 1) / _draw_market(options).volatility[1:-1]


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    return float(np.corrcoef(x[known], y[known])[0, 1])


def explained(features: list[np.ndarray], y: np.ndarray) -> float:
    """Correlation of the fitted values of ordinary least squares with y, on the second half of the rows."""
    X = np.stack([np.nan_to_num(feature).ravel() for feature in features], axis=1)
    X = np.column_stack([X, np.ones(len(X))])
    half = len(X) // 2
    weights = np.linalg.lstsq(X[:half], y.ravel()[:half], rcond=None)[0]
    return correlation(X[half:] @ weights, y.ravel()[half:])


@pytest.mark.parametrize("change", [{"signal_noise": 2.0}, {"signal_kind": "pattern"}])
def test_noise_and_kind_leave_every_other_random_draw_alone(change):
    plain, changed = _draw_market(MarketOptions(**SMALL)), _draw_market(MarketOptions(**SMALL, **change))
    for name in ["volatility", "season", "noise", "wick", "activity", "first_price"]:
        np.testing.assert_array_equal(getattr(plain, name), getattr(changed, name))
    np.testing.assert_array_equal(
        simulate(MarketOptions(**SMALL))["volume"], simulate(MarketOptions(**SMALL, **change))["volume"]
    )


def test_noise_changes_only_the_wicks():
    clear, noisy = (simulate(MarketOptions(**SMALL, signal_noise=noise)) for noise in (0.0, 2.0))
    pd.testing.assert_frame_equal(
        clear[["open", "close", "volume"]], noisy[["open", "close", "volume"]], check_exact=True
    )
    assert (clear["high"] != noisy["high"]).mean() > 0.9


@pytest.mark.parametrize("kind", ["state", "pattern"])
def test_in_the_placebo_the_wicks_are_the_same_and_the_optimum_is_zero(kind):
    options = MarketOptions(**SMALL, signal_strength=0, signal_noise=2.0, signal_kind=kind)
    strong = options.model_copy(update={"signal_strength": 0.3})
    np.testing.assert_array_equal(_draw_market(options).shown, _draw_market(strong).shown)
    assert (optimal_expectation(options, 4)["expected"] == 0).all()


@pytest.mark.parametrize("noise", [0.0, 1.0, 3.0])
def test_what_the_wicks_show_is_a_standard_normal_whatever_the_noise(noise):
    shown = _draw_market(MarketOptions(**NOISY | {"signal_noise": noise, "signal_half_life": 2})).shown
    assert abs(shown.std() - 1) < 0.03
    assert abs(np.mean(shown**4) - 3) < 0.2


def test_candles_show_the_state_and_its_noise_up_to_rounding():
    options = MarketOptions(**NOISY)
    assert correlation(shown_by_wicks(simulate(options)), _draw_market(options).shown[1:]) > 0.995


def test_without_noise_the_optimum_is_the_truth():
    for kind in ("state", "pattern"):
        options = MarketOptions(**SMALL, signal_kind=kind)
        pd.testing.assert_frame_equal(optimal_expectation(options, 4), planted_expectation(options, 4))


def test_the_optimum_is_the_regression_on_all_wicks_and_returns_so_far():
    """Against the weights that the joint covariance of states, wicks and standardised returns gives."""
    noise, strength = 1.5, 0.4
    options = MarketOptions(
        n_pairs=2, n_candles=40, signal_noise=noise, signal_half_life=5, signal_strength=strength, seed=1
    )
    market = _draw_market(options)
    step = np.arange(41)
    covariance = 0.5 ** (np.abs(step[:, None] - step) / 5)  # of the states before candles 0 .. 40
    wicks = market.shown[1:] * np.sqrt(1 + noise**2)
    opens, closes = (table(simulate(options), column) for column in ("open", "close"))
    returns = (closes / opens - 1) / market.volatility[:-1]
    found = table(optimal_expectation(options, 1), "expected") / (strength * market.volatility[1:])
    for row in (0, 1, 7, 39):
        states = np.r_[1 : row + 2, 0 : row + 1]  # what the wicks and the returns of candles 0 .. row speak of
        weight = np.r_[np.ones(row + 1), np.full(row + 1, strength)]
        variance = np.r_[np.full(row + 1, noise**2), np.full(row + 1, 1 - strength**2)]
        seen = weight[:, None] * covariance[np.ix_(states, states)] * weight + np.diag(variance)
        weights = np.linalg.solve(seen, weight * covariance[row + 1, states])
        expected = weights @ np.vstack([wicks[: row + 1], returns[: row + 1]])
        np.testing.assert_allclose(found[row], expected, rtol=1e-3, atol=1e-4)  # prices are whole ticks


@pytest.mark.parametrize("options", [NOISY, PATTERN])
def test_the_optimum_uses_no_later_candle(options):
    short = {**options, "n_candles": 600, "n_pairs": 3}
    expected = optimal_expectation(MarketOptions(**short), 12)
    longer = optimal_expectation(MarketOptions(**{**short, "n_candles": 900}), 12)
    np.testing.assert_array_equal(table(longer, "expected")[:600], table(expected, "expected"))
    pd.testing.assert_frame_equal(expected[["pair", "date"]], simulate(MarketOptions(**short))[["pair", "date"]])


def test_an_optimum_that_knew_one_more_candle_would_be_caught():
    """The negative control of the cut-off: moved back by one candle, the optimum does change with the future."""

    def leaking(n_candles: int) -> np.ndarray:
        expected = table(optimal_expectation(MarketOptions(**{**NOISY, "n_candles": n_candles}), 1), "expected")
        return np.vstack([expected[1:], expected[-1:]])

    assert (leaking(900)[:600] != leaking(600)).any()


def test_the_optimum_has_the_correlation_that_theory_gives_it():
    """strength x root of the share of the state's variance that the steady filter explains (Riccati equation)."""
    options = MarketOptions(**NOISY)
    persistence, noise, strength = 0.5 ** (1 / 12), 3.0, 0.15
    left = 1.0
    for _ in range(1000):
        precision = 1 / left + strength**2 / (1 - strength**2)  # after the candle's return
        precision = 1 / (persistence**2 / precision + 1 - persistence**2) + 1 / noise**2  # after its wicks
        left = 1 / precision
    market, moves = _draw_market(options), next_moves(options)
    optimum = table(optimal_expectation(options, 1), "expected")[:-1] / market.volatility[1:-1]
    assert abs(correlation(optimum, market.state[1:-1]) - np.sqrt(1 - left)) < 0.03
    assert abs(correlation(optimum, moves) - strength * np.sqrt(1 - left)) < 3.5 / np.sqrt(6000 * 3)
    slope = (optimum * moves).sum() / (optimum**2).sum()
    assert abs(slope - 1) < 3.5 / np.sqrt(6000 * 3) / (strength * np.sqrt(1 - left))


def test_with_noise_one_candle_tells_less_than_the_optimum():
    options = MarketOptions(**NOISY)
    moves, shown = next_moves(options), shown_by_wicks(simulate(options))[:-1]
    market = _draw_market(options)
    optimum = table(optimal_expectation(options, 1), "expected")[:-1] / market.volatility[1:-1]
    single = explained([shown, np.tanh(shown), shown**2, shown**3], moves)
    lags = explained([np.roll(shown, lag, axis=0) for lag in range(40)], moves)
    best = correlation(optimum.ravel()[len(moves.ravel()) // 2 :], moves.ravel()[len(moves.ravel()) // 2 :])
    assert single < 0.65 * best
    assert 0.8 * best < lags < 1.02 * best  # the optimum knows the returns, too


def test_of_the_pattern_a_single_candle_tells_nothing_and_two_tell_all():
    options = MarketOptions(**PATTERN)
    moves, shown = next_moves(options), shown_by_wicks(simulate(options))[:-1]
    before = np.roll(shown, 1, axis=0)
    noise = 3.5 / np.sqrt(moves.size / 2)
    assert abs(explained([shown, shown**2, np.abs(shown), np.sign(shown)], moves)) < noise
    assert abs(explained([shown, before, np.roll(shown, 2, axis=0)], moves)) < noise
    market = _draw_market(options)
    optimum = table(optimal_expectation(options, 1), "expected")[:-1] / market.volatility[1:-1]
    best = correlation(optimum, moves)
    assert best > 0.08
    assert explained([shown * before], moves) > 0.7 * best
    slope = (optimum * moves).sum() / (optimum**2).sum()
    assert abs(slope - 1) < 0.15


def test_the_optimum_of_another_source_or_no_horizon_is_refused():
    with pytest.raises(ParameterError, match="freqtrade_datadir"):
        optimal_expectation(MarketOptions(source="freqtrade_datadir", datadir="x"), 1)
    with pytest.raises(ParameterError, match="1 or more"):
        optimal_expectation(MarketOptions(**SMALL), 0)
