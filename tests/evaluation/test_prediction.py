import json
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import log_loss, r2_score, roc_auc_score

from agent_market.errors import DataError
from agent_market.evaluation import fold_ic, ic_decay, ic_series, prediction_metrics, quantile_returns

FIRST = pd.Timestamp("2024-01-01", tz="UTC")


def tables(prediction, outcome, *, kind="return", horizon=1):
    """Predictions and labels from matrices of (dates, pairs)."""
    n, k = prediction.shape
    dates = pd.date_range(FIRST, periods=n, freq="h").as_unit("ms")
    pairs = [f"P{at:02d}/USDT" for at in range(k)]
    key = pd.DataFrame({"pair": np.repeat(pairs, n), "date": np.tile(dates, k)})
    key["pair"] = key["pair"].astype("category")
    y = outcome.T.ravel()
    predictions = key.assign(fold=0, prediction=prediction.T.ravel(), kind=kind)
    mean = pd.Series(y).groupby(key["date"].to_numpy()).transform("mean").to_numpy()
    up = np.where(np.isnan(y), np.nan, y > 0.0)
    labels = key.assign(**{f"return_{horizon}": y, f"excess_{horizon}": y - mean, f"up_{horizon}": up})
    return predictions, labels


def noise(n, k, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, k)), rng.normal(size=(n, k))


def test_ic_of_each_date_is_scipys_correlation_across_pairs():
    x, y = noise(20, 6)
    x[:, 1] = x[:, 0]  # ties
    series = ic_series(*tables(x, y), horizon=1)
    assert series["ic"].to_numpy() == pytest.approx([stats.pearsonr(a, b)[0] for a, b in zip(x, y, strict=True)])
    assert series["rank_ic"].to_numpy() == pytest.approx([stats.spearmanr(a, b)[0] for a, b in zip(x, y, strict=True)])


def test_rows_without_a_label_are_left_out_and_counted():
    x, y = noise(10, 5)
    y[2, 1] = y[9, :] = np.nan
    x[4, 4] = np.nan
    predictions, labels = tables(x, y)
    series = ic_series(predictions, labels, 1).set_index("date")["rank_ic"]
    kept = [0, 2, 3, 4]
    assert series.iloc[2] == pytest.approx(stats.spearmanr(x[2, kept], y[2, kept])[0])
    assert np.isnan(series.iloc[9])
    metrics = prediction_metrics(predictions, labels, horizon=1, demeaned=False)
    counts = {name: metrics[name] for name in ("n_rows", "n_dates", "n_unlabelled", "n_unpredicted")}
    assert counts == {"n_rows": 43, "n_dates": 9, "n_unlabelled": 6, "n_unpredicted": 1}
    assert metrics["last_date"] == (FIRST + pd.Timedelta(hours=8)).isoformat()


def test_predictions_without_any_label_row_count_as_unlabelled():
    x, y = noise(10, 5)
    predictions, labels = tables(x, y)
    metrics = prediction_metrics(
        predictions, labels[labels["date"] < FIRST + pd.Timedelta(hours=6)], horizon=1, demeaned=False
    )
    assert (metrics["n_rows"], metrics["n_unlabelled"]) == (30, 20)


def test_the_ic_of_a_date_knows_nothing_of_other_dates():
    x, y = noise(30, 5)
    predictions, labels = tables(x, y)
    before = ic_series(predictions, labels, 1)
    late = predictions["date"] >= FIRST + pd.Timedelta(hours=15)
    after = ic_series(predictions.assign(prediction=predictions["prediction"].where(~late, 9.9)), labels, 1)
    pd.testing.assert_frame_equal(before.iloc[:15], after.iloc[:15])
    assert after["rank_ic"].iloc[15:].isna().all()


def test_a_prediction_one_candle_off_has_no_ic():
    x, _ = noise(600, 6)
    predictions, labels = tables(x, x)
    assert prediction_metrics(predictions, labels, horizon=1, demeaned=False)["rank_ic"] == pytest.approx(1.0)
    off = predictions.assign(date=predictions["date"] + pd.Timedelta(hours=1))
    metrics = prediction_metrics(off, labels, horizon=1, demeaned=False)
    assert metrics["rank_ic_low"] < 0.0 < metrics["rank_ic_high"]


@pytest.mark.parametrize("pairs", [1, 2])
def test_few_pairs_have_the_correlation_over_time(pairs):
    x, y = noise(300, pairs)
    y += 0.5 * x
    metrics = prediction_metrics(*tables(x, y), horizon=1, demeaned=False)
    assert metrics["ic_method"] == "time-series"
    assert metrics["rank_ic"] == pytest.approx(np.mean([stats.spearmanr(x[:, p], y[:, p])[0] for p in range(pairs)]))
    assert metrics["ic"] == pytest.approx(np.mean([stats.pearsonr(x[:, p], y[:, p])[0] for p in range(pairs)]))
    assert metrics["rank_ic_low"] > 0.0


def test_icir_is_mean_over_deviation_of_the_dates():
    x, y = noise(50, 6)
    predictions, labels = tables(x, y + 0.3 * x)
    series = ic_series(predictions, labels, 1)
    metrics = prediction_metrics(predictions, labels, horizon=1, demeaned=False)
    assert metrics["rank_icir"] == pytest.approx(series["rank_ic"].mean() / series["rank_ic"].std())
    assert metrics["icir"] == pytest.approx(series["ic"].mean() / series["ic"].std())


def test_overlapping_labels_widen_the_interval():
    rng = np.random.default_rng(3)
    step = rng.normal(size=(2000, 5))
    ahead = np.array([step[t : t + 12].sum(axis=0) for t in range(1900)])
    slow = np.array([rng.normal(size=5) for _ in range(1900 // 50)]).repeat(50, axis=0)
    predictions, labels = tables(slow, ahead, horizon=12)
    metrics = prediction_metrics(predictions, labels, horizon=12, demeaned=False)
    series = ic_series(predictions, labels, 12)["rank_ic"]
    naive = 2 * 1.96 * series.std() / np.sqrt(len(series))
    assert metrics["rank_ic_high"] - metrics["rank_ic_low"] > 2.0 * naive


def test_r2_against_zero_and_against_the_mean():
    x, y = noise(40, 4)
    y += 0.5 + 0.4 * x
    metrics = prediction_metrics(*tables(0.4 * x, y), horizon=1, demeaned=False)
    assert metrics["r2_oos"] == pytest.approx(1.0 - ((y - 0.4 * x) ** 2).sum() / (y**2).sum())
    assert metrics["r2"] == pytest.approx(r2_score(y.ravel(), 0.4 * x.ravel()))


def test_demeaned_models_are_scored_on_excess_returns():
    x, y = noise(40, 4)
    excess = y - y.mean(axis=1, keepdims=True)
    metrics = prediction_metrics(*tables(x, y), horizon=1, demeaned=True)
    assert metrics["r2_oos"] == pytest.approx(1.0 - ((excess - x) ** 2).sum() / (excess**2).sum())
    assert metrics["hit_rate"] == pytest.approx((np.sign(x) == np.sign(excess)).mean())


def test_hit_rate_ignores_rows_without_a_direction():
    x = np.array([[1.0, -1.0, 0.0, 2.0]] * 3)
    y = np.array([[1.0, 1.0, 1.0, 0.0]] * 3)
    assert prediction_metrics(*tables(x, y), horizon=1, demeaned=False)["hit_rate"] == 0.5


def test_hit_rate_interval_is_that_of_independent_rows_when_they_are():
    x, y = noise(3000, 4, seed=8)
    metrics = prediction_metrics(*tables(x, y), horizon=1, demeaned=False)
    width = metrics["hit_rate_high"] - metrics["hit_rate_low"]
    assert width == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(12000), rel=0.15)


def test_probabilities_have_log_loss_and_auc_of_sklearn():
    x, y = noise(80, 4)
    chance = 1.0 / (1.0 + np.exp(-(y + x).round(1)))  # rounded: ties
    metrics = prediction_metrics(*tables(chance, y, kind="probability"), horizon=1, demeaned=False)
    up = (y > 0).ravel()
    assert metrics["logloss"] == pytest.approx(log_loss(up, chance.ravel()))
    assert metrics["auc"] == pytest.approx(roc_auc_score(up, chance.ravel()))
    assert metrics["hit_rate"] == pytest.approx(((chance > 0.5) == (y > 0))[chance != 0.5].mean())
    assert metrics["r2_oos"] == pytest.approx(1.0 - ((up - chance.ravel()) ** 2).sum() / (0.25 * up.size))


def test_positions_have_an_ic_and_no_r2():
    x, y = noise(80, 4)
    metrics = prediction_metrics(*tables(np.sign(x), y + x, kind="position"), horizon=1, demeaned=False)
    assert metrics["rank_ic"] > 0.3
    assert (metrics["r2"], metrics["r2_oos"]) == (None, None)


@pytest.mark.parametrize("prediction", [0.0, np.nan])
def test_a_model_that_says_nothing_has_no_ic(prediction):
    x, y = noise(40, 4)
    metrics = prediction_metrics(*tables(np.full_like(x, prediction), y), horizon=1, demeaned=False)
    assert (metrics["ic"], metrics["rank_ic"], metrics["rank_ic_t"], metrics["hit_rate"]) == (None,) * 4
    assert metrics["n_dates"] == 0
    json.dumps(metrics, allow_nan=False)


def test_labels_that_are_all_missing_leave_everything_undefined():
    x, y = noise(40, 4)
    for kind in ("return", "probability", "position"):
        metrics = prediction_metrics(*tables(abs(x), y * np.nan, kind=kind), horizon=1, demeaned=False)
        assert metrics["n_rows"] == 0
        assert metrics["rank_ic"] is None
        json.dumps(metrics, allow_nan=False)


def test_decay_falls_with_the_horizon_at_which_the_signal_is_spent():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(3000, 6))
    step = 0.2 * signal + rng.normal(size=(3000, 6))
    predictions, labels = tables(signal, step, horizon=1)
    for horizon in (4, 16):
        ahead = np.full_like(step, np.nan)
        for t in range(len(step) - horizon):
            ahead[t] = step[t : t + horizon].sum(axis=0)
        labels[f"return_{horizon}"] = ahead.T.ravel()
    decay = ic_decay(predictions, labels).set_index("horizon")
    assert decay.index.tolist() == [1, 4, 16]
    assert decay["rank_ic"].is_monotonic_decreasing
    assert decay.loc[1, "rank_ic_low"] > 0.13 > decay.loc[4, "rank_ic_high"]
    assert decay.loc[1, "rank_ic"] == pytest.approx(
        prediction_metrics(predictions, labels, horizon=1, demeaned=False)["rank_ic"]
    )


def test_folds_are_scored_apart():
    x, y = noise(400, 5)
    y[:200] += x[:200]
    predictions, labels = tables(x, y)
    predictions["fold"] = (predictions["date"] >= FIRST + pd.Timedelta(hours=200)).astype(int)
    table = fold_ic(predictions, labels, 1)
    assert table["fold"].tolist() == [0, 1]
    assert table["n_dates"].tolist() == [200, 200]
    assert table.loc[0, "rank_ic_low"] > 0.4
    assert table.loc[1, "rank_ic_low"] < 0.0 < table.loc[1, "rank_ic_high"]


def test_quantiles_across_pairs_worked_out_by_hand():
    x = np.array([[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    y = np.array([[0.00, 0.01, 0.02, 0.03], [0.03, 0.02, 0.01, 0.00]]) + np.array([[0.5], [-0.5]])
    table = quantile_returns(*tables(x, y), horizon=1, n=2).set_index("quantile")
    assert table["mean_bp"].to_dict() == pytest.approx({"1": -100.0, "2": 100.0, "spread": 200.0})
    assert table["n_rows"].tolist() == [4, 4, 8]


def test_quantiles_of_one_pair_are_those_of_its_own_history():
    x = np.arange(100.0).reshape(-1, 1)
    table = quantile_returns(*tables(x, x * 1e-4), horizon=1, n=4).set_index("quantile")
    assert table.loc[["1", "2", "3", "4"], "mean_bp"].tolist() == pytest.approx([12.0, 37.0, 62.0, 87.0])
    assert table.loc["spread", "mean_bp"] == pytest.approx(75.0)


def test_quantile_intervals_hold_the_planted_means():
    x, y = noise(4000, 10, seed=4)
    table = quantile_returns(*tables(x, 0.001 * x + 0.01 * y), horizon=1, n=5)
    low, middle, high = (table.iloc[at] for at in (0, 2, 5))
    assert low["high_bp"] < 0.0 < high["low_bp"]
    assert middle["low_bp"] < 0.0 < middle["high_bp"]
    plain = 1.96 * 100.0 / np.sqrt(8000)  # bp, independent rows
    assert (low["high_bp"] - low["low_bp"]) / 2 == pytest.approx(plain, rel=0.2)


def test_there_are_no_more_quantiles_than_pairs():
    table = quantile_returns(*tables(*noise(50, 3)), horizon=1, n=5)
    assert table["quantile"].tolist() == ["1", "2", "3", "spread"]


def test_eight_pairs_and_ten_thousand_dates_take_less_than_a_second():
    predictions, labels = tables(*noise(10_000, 8))
    start = time.process_time()
    prediction_metrics(predictions, labels, horizon=1, demeaned=True)
    assert time.process_time() - start < 1.0


def test_unusable_tables_are_refused_with_the_remedy():
    predictions, labels = tables(*noise(10, 4))
    with pytest.raises(DataError, match=r"no column 'return_7'; horizons of 'return' found: 1"):
        prediction_metrics(predictions, labels, horizon=7, demeaned=False)
    with pytest.raises(DataError, match="repeated rows"):
        ic_series(pd.concat([predictions, predictions]), labels, 1)
    with pytest.raises(DataError, match="expected one of return, probability, position"):
        ic_series(predictions.assign(kind="guess"), labels, 1)
    with pytest.raises(DataError, match="no predictions"):
        ic_series(predictions.iloc[:0], labels, 1)
