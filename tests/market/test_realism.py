import numpy as np
import pandas as pd
import pytest
from scipy import stats

from agent_market.market import MarketOptions, clean_candles, planted_expectation, simulate
from agent_market.market.realism import compare_with_real, measure_realism, rank_ic_of_truth


def clean(**values) -> pd.DataFrame:
    options = MarketOptions(**values)
    return clean_candles(simulate(options), options)[0]


def test_figures_agree_with_statsmodels_and_scipy():
    from statsmodels.tsa.stattools import acf

    candles = clean(n_pairs=2, n_candles=3000)
    figures = measure_realism(candles).loc["ETH/USDT"]
    rows = candles[candles["pair"] == "ETH/USDT"]
    returns = np.diff(np.log(rows["close"]))
    assert figures["excess kurtosis, 1h"] == pytest.approx(stats.kurtosis(returns, bias=False))
    assert figures["annual volatility"] == pytest.approx(returns.std(ddof=1) * np.sqrt(8760))
    # statsmodels divides by the whole series' variance, pandas by that of the two overlapping parts
    lags = acf(np.abs(returns), nlags=24, fft=False)
    assert figures["ACF of abs(r), lag 1"] == pytest.approx(lags[1], abs=0.005)
    assert figures["ACF of abs(r), lag 24"] == pytest.approx(lags[24], abs=0.005)


def test_simulated_candles_have_the_marks_of_hourly_crypto():
    figures = measure_realism(clean(n_pairs=4, n_candles=13_140, seed=11))
    assert figures["annual volatility"].between(0.4, 1.6).all()
    assert (figures["excess kurtosis, 1h"] > 3).all()
    assert figures["ACF of abs(r), lag 1"].between(0.15, 0.4).all()
    assert figures["ACF of abs(r), lag 168"].between(0.03, 0.2).all()
    assert (figures["ACF of r, lag 1"].abs() < 0.05).all()
    assert figures["correlation with BTC"].drop("BTC/USDT").between(0.4, 0.9).all()
    assert figures["busiest / quietest hour"].between(1.4, 2.3).all()
    assert figures["mean range / mean abs(r)"].between(1.9, 2.4).all()


def test_shuffled_returns_lose_the_clustering():
    """The control: the same returns in any other order are not a market."""
    candles = clean(n_pairs=1, n_candles=5000)
    returns = np.diff(np.log(candles["close"]))
    shuffled = np.exp(np.cumsum(np.append(0.0, np.random.default_rng(0).permutation(returns))))
    figures = measure_realism(candles.assign(close=shuffled)).iloc[0]
    assert abs(figures["ACF of abs(r), lag 1"]) < 0.06
    assert figures["busiest / quietest hour"] < 1.4


def test_real_and_simulated_figures_stand_side_by_side(shared_dir, monkeypatch):
    monkeypatch.setattr("agent_market.market.realism.SEEDS", [1])
    table = compare_with_real(str(shared_dir / "market" / "binance"))
    assert table.columns.tolist() == [
        "real BTC",
        "simulated BTC",
        "real ETH",
        "simulated ETH",
        "simulated others",
    ]
    assert table.loc["annual volatility", "real BTC"] == "0.808"  # worked out from the file by itself


def test_rank_ic_of_the_truth_agrees_with_scipy(monkeypatch):
    options = MarketOptions(n_candles=200, n_pairs=5, signal_strength=0.3)
    monkeypatch.setattr("agent_market.market.realism.SEEDS", [options.seed])
    monkeypatch.setattr("agent_market.market.realism.STRENGTHS", (0.3,))
    monkeypatch.setattr("agent_market.market.realism.HORIZONS", (2,))
    monkeypatch.setattr("agent_market.market.realism.MarketOptions", lambda **_: options)
    opens = simulate(options).pivot(index="date", columns="pair", values="open").to_numpy()
    truth = planted_expectation(options, 2).pivot(index="date", columns="pair", values="expected").to_numpy()
    by_date = [stats.spearmanr(truth[t], opens[t + 3] / opens[t + 1]).statistic for t in range(197)]
    assert rank_ic_of_truth().loc["signal_strength 0.3", "2 h"].startswith(f"{np.mean(by_date):.3f} ")
