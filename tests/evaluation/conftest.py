"""A small run from its tables to its report."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from agent_market.evaluation import (
    build_leaderboard,
    daily_returns,
    edge_verdict,
    equity_figure,
    ic_decay,
    ic_decay_figure,
    ic_figure,
    ic_series,
    importance_figure,
    monthly_figure,
    prediction_metrics,
    quantile_figure,
    quantile_returns,
    run_caveats,
    trading_metrics,
)

BALANCE = 1000.0
NO_TRADES = pd.DataFrame()


def run_tables(n_dates=24 * 60, n_pairs=4, weights=None, seed=0):
    """Tables as the pipelines give them: models whose predictions hold `weight` of the next candle's signal."""
    weights = weights or {"ridge": 0.9, "<b>noise & co</b>": 0.0}
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2024-01-01", periods=n_dates, freq="h", tz="UTC").as_unit("ms")
    pairs = [f"P{at}/USDT" for at in range(n_pairs)]
    signal = rng.normal(size=(n_dates, n_pairs))
    step = 0.004 * rng.normal(size=(n_dates, n_pairs)) + 0.001 * signal  # from the open of t+1 to that of t+2
    step[-2:] = np.nan
    key = pd.DataFrame({"pair": np.repeat(pairs, n_dates), "date": np.tile(dates, n_pairs)})
    key["pair"] = key["pair"].astype("category")
    slow = pd.DataFrame(step).rolling(4).sum().shift(-3).to_numpy()
    labels = key.assign(return_1=step.T.ravel(), return_4=slow.T.ravel())

    predictions, equity = {}, []
    moved = np.concatenate([[[0.0] * n_pairs] * 2, step[:-2]])  # what the candle before last foresaw
    for model, weight in weights.items():
        told = 0.001 * (weight * signal + np.sqrt(1.0 - weight**2) * rng.normal(size=signal.shape))
        fold = np.tile(np.arange(n_dates) * 3 // n_dates, n_pairs)
        predictions[model] = key.assign(fold=fold, prediction=told.T.ravel(), kind="return")
        held = np.concatenate([np.zeros((2, n_pairs)), np.sign(told[:-2]) / n_pairs])
        values = BALANCE * np.cumprod(1.0 + (held * moved).sum(axis=1))
        equity.append(
            pd.DataFrame({"model": model, "date": dates, "equity": values, "exposure": 1.0, "n_open": n_pairs})
        )
    growth = np.cumprod(1.0 + moved, axis=0).mean(axis=1)
    held = pd.DataFrame({"model": "buy_and_hold", "date": dates, "equity": BALANCE * growth, "exposure": 1.0})
    held["n_open"] = n_pairs
    flat = held.assign(model="always_flat", equity=BALANCE, exposure=0.0, n_open=0)
    return SimpleNamespace(
        dates=dates,
        predictions=predictions,
        labels=labels,
        equity=pd.concat([*equity, held, flat], ignore_index=True),
    )


def evaluate(tables):
    """All that a report needs, from the tables."""
    accounts = dict(list(tables.equity.groupby("model", sort=False)))
    trading = {
        model: trading_metrics(part, NO_TRADES, starting_balance=BALANCE, trading_days=365)
        for model, part in accounts.items()
    }
    ic = {model: ic_series(table, tables.labels, 1) for model, table in tables.predictions.items()}
    daily = {model: daily_returns(part, starting_balance=BALANCE) for model, part in accounts.items()}
    verdicts = edge_verdict(
        {model: daily[model] for model in ic},
        daily["buy_and_hold"],
        {model: table["rank_ic"] for model, table in ic.items()},
        horizon=1,
        trading_days=365,
        repetitions=500,
    )
    scores = {
        model: prediction_metrics(table, tables.labels, horizon=1, demeaned=False)
        for model, table in tables.predictions.items()
    }
    features = [f"momentum_{at}" for at in range(30)]
    importance = pd.DataFrame(
        [
            {"model": model, "fold": fold, "feature": feature, "importance": (at + 1.0) * (1.0 + fold)}
            for model in ic
            for fold in range(3)
            for at, feature in enumerate(features)
        ]
    )
    models = {model: trading[model] | scores[model] | verdicts[model] for model in ic}
    benchmarks = {name: trading[name] for name in ("buy_and_hold", "always_flat")}
    predictions = tables.predictions.items()
    return SimpleNamespace(
        verdicts=verdicts,
        leaderboard=build_leaderboard(models, benchmarks),
        importance=importance,
        caveats=run_caveats(verdicts=verdicts, days=len(daily["buy_and_hold"]), n_pairs=4, signal_strength=0.05),
        figures={
            "equity": equity_figure(tables.equity, starting_balance=BALANCE),
            "ic": ic_figure(ic),
            "ic_decay": ic_decay_figure({model: ic_decay(table, tables.labels) for model, table in predictions}),
            "quantiles": quantile_figure(
                {model: quantile_returns(table, tables.labels, 1) for model, table in predictions}, horizon=1
            ),
            "importance": importance_figure(importance),
            "monthly": monthly_figure(tables.equity, starting_balance=BALANCE),
        },
    )


@pytest.fixture(scope="session")
def small_run():
    """A run of two models, one with an edge, one without and with a name that is HTML."""
    tables = run_tables()
    return SimpleNamespace(**vars(tables), **vars(evaluate(tables)))


@pytest.fixture
def evaluated():
    """A function that gives what a report needs, for a market of another shape."""

    def run(**shape):
        tables = run_tables(**shape)
        return SimpleNamespace(**vars(tables), **vars(evaluate(tables)))

    return run
