"""All models side by side, beside buy-and-hold and always-flat."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from agent_market.errors import DataError
from agent_market.evaluation.jsonable import to_jsonable

Format = Literal["text", "percent", "ratio", "coefficient", "cost", "count", "flag"]


@dataclass(frozen=True)
class Column:
    """A column of the leaderboard: what people call it, how it is written, and what it means."""

    title: str
    format: Format
    meaning: str


LEADERBOARD_COLUMNS: dict[str, Column] = {
    "model": Column("Model", "text", "the model, or a benchmark"),
    "edge": Column("Edge", "flag", "whether an edge after costs is claimed (see the verdict); none for benchmarks"),
    "gate": Column("Gate", "flag", "whether a policy passes the go-live gate; other models have none"),
    "total_return": Column("Total return", "percent", "last equity over starting balance, less 1; net of costs"),
    "annual_return": Column("Annual return", "percent", "total return, compounded to a year of this market"),
    "sharpe": Column("Sharpe", "ratio", "annualised mean over deviation of daily net returns"),
    "sharpe_low": Column("Sharpe, low", "ratio", "lower end of the 95 % bootstrap interval of the Sharpe ratio"),
    "sharpe_high": Column("Sharpe, high", "ratio", "upper end of that interval"),
    "dsr": Column(
        "Deflated Sharpe",
        "percent",
        "chance that the Sharpe ratio is above that of the best of all trials without skill",
    ),
    "alpha_dsr": Column(
        "Deflated alpha Sharpe", "percent", "the same of the returns that buy-and-hold does not explain"
    ),
    "min_track_days": Column(
        "Days needed",
        "count",
        "daily returns of this kind until the Sharpe ratio is above zero with 95 %; none if never",
    ),
    "trials": Column("Trials", "count", "how often the model was tuned on other options, itself included"),
    "sortino": Column("Sortino", "ratio", "annualised mean over downside deviation of daily net returns, all days"),
    "calmar": Column("Calmar", "ratio", "annual return over the size of the deepest drawdown"),
    "max_drawdown": Column("Max drawdown", "percent", "deepest fall of marked-to-market equity from its peak"),
    "rank_ic": Column("RankIC", "coefficient", "mean Spearman correlation of predictions with what came"),
    "rank_ic_low": Column("RankIC, low", "coefficient", "lower end of its 95 % interval, corrected for overlap"),
    "rank_ic_high": Column("RankIC, high", "coefficient", "upper end of that interval"),
    "rank_ic_t": Column("RankIC t", "ratio", "RankIC over its overlap-corrected standard error"),
    "rank_ic_seed_mean": Column(
        "RankIC of seeds", "coefficient", "mean and deviation of the RankIC of an ensemble's seeds, each taken alone"
    ),
    "rank_ic_seed_std": Column("RankIC of seeds, deviation", "coefficient", "over the seeds of an ensemble (ddof 1)"),
    "n_seeds": Column("Seeds", "count", "networks that differ in their seed only, and whose mean is the prediction"),
    "ic": Column("IC", "coefficient", "mean Pearson correlation of predictions with what came"),
    "r2_oos": Column("R² oos", "percent", "squared error saved against a forecast of zero; may be negative"),
    "hit_rate": Column("Hit rate", "percent", "predictions whose direction was right; 50 % is chance"),
    "win_rate": Column("Win rate", "percent", "closed trades with a profit after fees"),
    "profit_factor": Column("Profit factor", "ratio", "money won over money lost in closed trades"),
    "trades": Column("Trades", "count", "closed trades"),
    "exposure": Column("Exposure", "percent", "mean gross value of open positions over equity"),
    "turnover": Column("Turnover", "ratio", "traded value per year over mean equity; 1 is one whole account"),
    "break_even_cost": Column(
        "Break-even cost", "cost", "fee and slippage per side at which the mean net return is zero; none if it loses"
    ),
    "months_positive": Column("Months up", "percent", "calendar months with a gain"),
    "return_without_best_pair": Column(
        "Without best pair", "percent", "total return less the profit of the pair that earned most"
    ),
    "fit_steps": Column("Fit steps", "ratio", "trees or epochs that the fit of a fold took, on average"),
    "warm_start": Column("Warm start", "flag", "whether each fold goes on from the model of the fold before"),
    "freqtrade_trades": Column("freqtrade: trades", "count", "trades of freqtrade's own backtest"),
    "freqtrade_total_return": Column("freqtrade: return", "percent", "total return as freqtrade states it"),
    "freqtrade_sharpe": Column("freqtrade: Sharpe", "ratio", "freqtrade's own Sharpe, defined otherwise"),
    "freqtrade_max_drawdown": Column(
        "freqtrade: drawdown", "percent", "of closed trades only; freqtrade states it without a minus"
    ),
    "engines_agree": Column("Engines agree", "flag", "whether both backtests made the same trades"),
}
"""Fixed order of the columns. Percent columns hold fractions (0.1 is 10 %)."""

BENCHMARKS = ("buy_and_hold", "always_flat")
_SAME_MEANING = {"edge": "claim"}


def build_leaderboard(
    per_model: Mapping[str, Mapping[str, Any]], benchmarks: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """One row per model, those with an edge first and each group by falling Sharpe ratio; benchmarks at the end.

    Args:
        per_model: model → its `trading_metrics`, `prediction_metrics`, verdict and `freqtrade_*` figures in one dict;
            keys that are no column are ignored, columns without a key are missing values.
        benchmarks: the same for `buy_and_hold` and `always_flat`; they make no predictions.

    Returns:
        Columns and units as in `LEADERBOARD_COLUMNS`.
    """
    if both := set(per_model) & set(benchmarks):
        raise DataError(f"{', '.join(sorted(both))} is the name of a benchmark; give the model another name")
    models = _rows(per_model)
    models = models.sort_values(
        ["edge", "sharpe", "model"], ascending=[False, False, True], na_position="last", kind="stable"
    )
    return pd.concat([models, _rows(benchmarks)], ignore_index=True)


def _rows(metrics: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    rows = []
    for model, values in metrics.items():
        plain = {"model": model} | {key: to_jsonable(value) for key, value in values.items() if key != "model"}
        rows.append({name: plain.get(_SAME_MEANING.get(name, name)) for name in LEADERBOARD_COLUMNS})
    types = {"text": "str", "flag": "boolean", "count": "Int64"}
    frame = pd.DataFrame(rows, columns=list(LEADERBOARD_COLUMNS))
    return frame.astype({name: types.get(c.format, "float64") for name, c in LEADERBOARD_COLUMNS.items()})
