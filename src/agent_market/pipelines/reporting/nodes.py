"""Nodes of reporting that measure, judge and write."""

import re
from importlib.metadata import version
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from agent_market import evaluation
from agent_market.evaluation.trials import tuning_sentence
from agent_market.factors.options import FeatureOptions
from agent_market.learning.labels import LabelOptions
from agent_market.learning.trained import data_fingerprint
from agent_market.learning.walk_forward import TrainingOptions
from agent_market.market.options import MarketOptions
from agent_market.parameters import Parameters, digest_of
from agent_market.pipelines.options import AnyModelOptions
from agent_market.trading.options import BacktestOptions

RUNS_PAGE = "../../../runs.html"
"""Where the page over all runs lies, seen from the folder of a version of the report."""

ENGINE_COLUMNS = (
    "model",
    "verdict",
    "trades_embedded",
    "trades_freqtrade",
    "matched",
    "final_balance_embedded",
    "final_balance_freqtrade",
    "max_difference_profit_abs",
)
"""What the report shows of the comparison of engines."""

LIBRARIES = (
    "agent_market",
    "catboost",
    "freqtrade",
    "kedro",
    "lightgbm",
    "numpy",
    "pandas",
    "scikit-learn",
    "stable-baselines3",
    "torch",
    "xgboost",
)


def measure_trading(
    equity: pd.DataFrame, trades: pd.DataFrame, backtest: BacktestOptions, market: MarketOptions
) -> dict[str, dict[str, Any]]:
    """Trading figures of each model and benchmark, from bar-by-bar equity."""
    how = {"starting_balance": backtest.starting_balance, "trading_days": market.trading_days}
    return {
        model: evaluation.trading_metrics(account, trades[trades["model"] == model], **how)
        for model, account in equity.groupby("model", sort=False)
    }


def judge_models(
    equity: pd.DataFrame,
    labels: pd.DataFrame,
    backtest: BacktestOptions,
    market: MarketOptions,
    training: TrainingOptions,
    **predictions: pd.DataFrame,
) -> dict[str, dict[str, Any]]:
    """Whether each model may claim an edge after costs, and how sure that is."""
    returns = _daily_returns(equity, backtest)
    rank_ic = {
        model: evaluation.ic_series(table, labels, training.horizon).set_index("date")["rank_ic"]
        for model, table in predictions.items()
    }
    return evaluation.edge_verdict(
        {model: returns[model] for model in predictions},
        returns["buy_and_hold"],
        rank_ic,
        horizon=training.horizon,
        trading_days=market.trading_days,
    )


def weigh_evidence(equity: pd.DataFrame, backtest: BacktestOptions, **metrics: dict[str, Any]) -> dict[str, Any]:
    """How likely the models' results are luck, all that were tried counted; JSON-ready."""
    returns = _daily_returns(equity, backtest)
    return evaluation.weigh_evidence(
        {model: returns[model] for model in metrics},
        returns["buy_and_hold"],
        {model: figures.get("trials") or 1 for model, figures in metrics.items()},
    )


def measure_stability(
    trades: pd.DataFrame, equity: pd.DataFrame, folds: pd.DataFrame, backtest: BacktestOptions
) -> pd.DataFrame:
    """What each model and benchmark earned in each third, month, test window and pair."""
    tables = [
        evaluation.profit_by_part(
            trades[trades["model"] == model], account, folds, starting_balance=backtest.starting_balance
        ).assign(model=model)
        for model, account in equity.groupby("model", sort=False)
    ]
    return pd.concat(tables, ignore_index=True)


def rank_models(
    trading_metrics: dict[str, dict[str, Any]],
    verdicts: dict[str, dict[str, Any]],
    significance: dict[str, Any],
    stability: pd.DataFrame,
    break_even_costs: dict[str, float | None],
    freqtrade_metrics: dict[str, dict[str, Any]],
    engine_comparison: pd.DataFrame,
    **metrics: dict[str, Any],
) -> pd.DataFrame:
    """The leaderboard: models and benchmarks side by side, freqtrade's own figures included."""
    agree = _engines_agree(engine_comparison)
    even = {model: evaluation.stability_metrics(part) for model, part in stability.groupby("model", sort=False)}
    rows = {}
    for model, prediction in metrics.items():
        theirs = freqtrade_metrics.get(model, {})
        rows[model] = {
            **prediction,
            **trading_metrics[model],
            **verdicts[model],
            **significance["models"][model],
            **even[model],
            "break_even_cost": break_even_costs[model],
            "freqtrade_trades": theirs.get("total_trades"),
            "freqtrade_total_return": theirs.get("profit_total"),
            "freqtrade_sharpe": theirs.get("sharpe"),
            "freqtrade_max_drawdown": theirs.get("max_drawdown_account"),
            "engines_agree": agree.get(model),
        }
    return evaluation.build_leaderboard(rows, {name: trading_metrics[name] for name in evaluation.BENCHMARKS})


def check_certificate(
    candles: pd.DataFrame, placebo_certificate: dict[str, Any] | None, parameters: dict[str, Any]
) -> dict[str, Any]:
    """What the placebo certificate says of this run: `valid`, `passed`, `sentence`; empty where none was made."""
    if placebo_certificate is None:
        return {}
    configured = Parameters.model_validate(parameters)
    found = evaluation.certificate_for(
        placebo_certificate,
        data=data_fingerprint(candles),
        parameters=digest_of(configured, placebo_certificate["models"]),
        models=list(configured.models),
    )
    return found or {}


def describe_run(
    candles: pd.DataFrame,
    folds: pd.DataFrame,
    factors: dict[str, Any],
    verdicts: dict[str, dict[str, Any]],
    trading_metrics: dict[str, dict[str, Any]],
    engine_comparison: pd.DataFrame,
    certificate: dict[str, Any],
    factor_library: dict[str, Any] | None,
    market: MarketOptions,
    features: FeatureOptions,
    labels: LabelOptions,
    training: TrainingOptions,
    models: dict[str, Any],
    backtest: BacktestOptions,
    *tuning_gains: dict[str, Any],
) -> dict[str, Any]:
    """What was run, on what, and what must be known before its figures are believed; JSON-ready."""
    simulated = market.source == "simulated"
    strength = market.signal_strength if simulated else None
    pairs = list(candles["pair"].cat.categories)
    caveats = evaluation.run_caveats(
        verdicts=verdicts,
        days=trading_metrics["buy_and_hold"]["days"],
        n_pairs=len(pairs),
        signal_strength=strength,
        placebo_certified=certificate.get("valid", False),
        slippage=backtest.slippage,
        engines_agree={model: _engines_agree(engine_comparison).get(model) for model in verdicts},
    )
    chosen = _mined(features, factors["factors"], factor_library)
    if (told := evaluation.mined_caveat(chosen, len(factors["factors"]), folds)) is not None:
        caveats.insert(0, told)
    caveats += [tuning_sentence(gain) for gain in tuning_gains]
    parsed = {name: AnyModelOptions.model_validate(block).root for name, block in models.items() if block}
    facts = {
        "market": {
            "source": market.source if not simulated else f"simulated, signal strength {strength:g}",
            "timeframe": market.timeframe,
            "trading_mode": market.trading_mode,
            "pairs": pairs,
            "candles": len(candles),
            "first_candle": candles["date"].min(),
            "last_candle": candles["date"].max(),
        },
        "costs": {
            "fee": f"{backtest.fee * 100:g} % per side",
            "slippage": f"{backtest.slippage * 100:g} % per side",
            "funding": "left out" if market.trading_mode == "futures" else "none (spot)",
        },
        "learning": {
            "factors": len(factors["factors"]),
            "horizon": f"{training.horizon} candles",
            "label_horizons": list(labels.horizons),
            "tested_from": folds["test_start"].min(),
            "tested_until": folds["test_end"].max(),
        },
        "folds": folds.astype({"fold": int}).to_dict("records"),
        "parameters": {
            "market": market.model_dump(mode="json", exclude={"download_folder"}),
            "features": features.model_dump(mode="json"),
            "labels": labels.model_dump(mode="json"),
            "training": training.model_dump(mode="json", exclude={"checkpoints"}),
            "models": {name: options.model_dump(mode="json") for name, options in parsed.items()},
            "backtest": backtest.model_dump(mode="json"),
        },
        "versions": {library: version(library) for library in LIBRARIES},
        "caveats": caveats,
    }
    return evaluation.to_jsonable(facts)


def _mined(
    features: FeatureOptions, factors: dict[str, str], factor_library: dict[str, Any] | None
) -> dict[str, str | None]:
    """Which factors stem from the library, all of it or by name, and until when candles were seen in choosing them."""
    library = (factor_library or {}).get("factors", {})
    named = set(re.findall(r"@(\w+)", " ".join(map(str, features.factors.values()))))
    return {
        name: facts.get("seen_until")
        for name, facts in library.items()
        if name in named or (features.mined and factors.get(name) == facts["expression"])
    }


def write_report(
    leaderboard: pd.DataFrame,
    verdicts: dict[str, dict[str, Any]],
    run_facts: dict[str, Any],
    data_quality: pd.DataFrame,
    engine_comparison: pd.DataFrame,
    gate_checks: pd.DataFrame,
    policy_intervals: pd.DataFrame,
    significance: dict[str, Any],
    stability: pd.DataFrame,
    break_even_costs: dict[str, float | None],
    certificate: dict[str, Any],
    *drawn: go.Figure | dict[str, Any],
) -> dict[str, str]:
    """The report: a folder of HTML pages that need no network, one of each model and one that compares them.

    `drawn` are figures of all models beside one another, and what fills the page of each model.
    """
    pages = {page["model"]: page for page in drawn if isinstance(page, dict)}
    figures = [figure for figure in drawn if not isinstance(figure, dict)]
    run = {name: part for name, part in run_facts.items() if name != "caveats"}
    run["folds"] = pd.DataFrame(run["folds"])
    return evaluation.render_report(
        leaderboard=leaderboard,
        verdicts=verdicts,
        run=run,
        figures={figure.layout.title.text.split(": ")[0]: figure for figure in figures},
        quality=data_quality,
        engines=engine_comparison[list(ENGINE_COLUMNS)] if len(engine_comparison) else None,
        gates=gate_checks if len(gate_checks) else None,
        intervals=policy_intervals if len(policy_intervals) else None,
        caveats=run_facts["caveats"],
        certificate=certificate or None,
        runs_page=RUNS_PAGE,
        sections=[
            evaluation.luck_section(significance, stability, break_even_costs),
            *([evaluation.certificate_section(certificate)] if "worlds" in certificate else []),
        ],
        model_sections={model: page["sections"] for model, page in pages.items()},
        model_doubts={model: page["doubts"] for model, page in pages.items()},
    )


def index_runs(run_history: list[dict[str, Any]], feedback: dict[str, Any], report: dict[str, str]) -> str:
    """The page over all runs; `feedback` and `report` are read so that this run's lie there before it is made."""
    return evaluation.render_run_index(run_history)


def give_feedback(
    leaderboard: pd.DataFrame,
    verdicts: dict[str, dict[str, Any]],
    run_facts: dict[str, Any],
    **importance: pd.DataFrame,
) -> dict[str, Any]:
    """The facts of this run as JSON, for the next one to read."""
    run = {name: part for name, part in run_facts.items() if name != "caveats"}
    return evaluation.build_feedback(
        run=run,
        verdicts=verdicts,
        leaderboard=leaderboard,
        importance=stack_importance(importance),
        caveats=run_facts["caveats"],
    )


def list_gate_checks(**gates: dict[str, Any]) -> pd.DataFrame:
    """Each check of each policy's go-live gate: model, check, value, limit, passed; empty without policies."""
    rows = [{"model": model} | check for model, verdict in gates.items() for check in verdict["checks"]]
    types = {"model": "str", "check": "str", "value": float, "limit": "str", "passed": bool}
    return pd.DataFrame(rows, columns=list(types)).astype(types)


def stack_intervals(**intervals: pd.DataFrame) -> pd.DataFrame:
    """What each policy's test windows and seeds brought, in one table; empty without policies."""
    tables = [table.assign(model=model) for model, table in intervals.items()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"model": pd.Series(dtype="str")})


def stack_importance(importance: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Importance of all models in one table: model, fold, feature, importance."""
    tables = [table.assign(model=model) for model, table in importance.items()]
    return pd.concat(tables, ignore_index=True)[["model", "fold", "feature", "importance"]]


def _daily_returns(equity: pd.DataFrame, backtest: BacktestOptions) -> dict[str, pd.Series]:
    return {
        model: evaluation.daily_returns(account, starting_balance=backtest.starting_balance)
        for model, account in equity.groupby("model", sort=False)
    }


def _engines_agree(engine_comparison: pd.DataFrame) -> dict[str, bool]:
    return {row["model"]: row["verdict"] == "equal" for row in engine_comparison.to_dict("records")}
