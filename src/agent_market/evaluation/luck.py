"""The part of the report that says how likely its results are luck."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from agent_market.evaluation.formatting import MISSING, format_probability, format_value
from agent_market.evaluation.sections import Section, Table
from agent_market.evaluation.stability import PARTS, stability_metrics


def luck_section(
    significance: Mapping[str, Any], stability: pd.DataFrame, break_even_costs: Mapping[str, float | None]
) -> Section:
    """Significance of all models together and of each, and how evenly their results come about.

    Arguments are the datasets `significance` (as of `weigh_evidence`), `stability` (as of `profit_by_part`, with its
    model) and `break_even_costs` (per side, fraction).
    """
    return Section(
        title="How likely it is luck",
        text=_sentences(significance),
        tables=[
            Table(
                _by_model(significance["models"], break_even_costs),
                title="Sharpe ratios, all trials counted",
                note="PSR: chance that the Sharpe ratio is above zero. Deflated: that it is above what the best of all "
                "trials without skill would show. Alpha: of the returns that buy-and-hold does not explain.",
            ),
            Table(
                _evenness(stability, list(significance["models"])),
                title="Does it hold in all parts?",
                note="Shares of the parts with a gain, and the total return without the best of them. A pair is left "
                "out by its own trades; what its freed stake would have earned is not counted.",
            ),
        ],
    )


def _sentences(found: Mapping[str, Any]) -> list[str]:
    models = found["models_compared"]
    trials = f"{found['trials']} trial{'s' if found['trials'] != 1 else ''}"
    said = [f"{found['days']} days, {models} model{'s' if models != 1 else ''}, {trials} in all, tuning counted."]
    for prefix, over in (("", "more than buy-and-hold"), ("alpha_", "anything beyond beta times buy-and-hold")):
        if (chance := found[f"{prefix}spa_p"]) is not None:
            said.append(
                f"If no model earned {over}, the best of them, {found[f'{prefix}spa_best']}, would look as good with a "
                f"chance of {format_probability(chance)} (Hansen's SPA; White's reality check: "
                f"{format_probability(found[f'{prefix}reality_check_p'])})."
            )
    if found["pbo"] is not None:
        said.append(
            f"Probability of backtest overfitting: {format_probability(found['pbo'])}. So often is the model that is "
            "best in one half of the time no better than the median in the other; 50 % is what chance gives."
        )
    return said


def _by_model(models: Mapping[str, Mapping[str, Any]], break_even: Mapping[str, float | None]) -> pd.DataFrame:
    rows = [
        {
            "model": model,
            "trials": found["trials"],
            "PSR": format_probability(found["psr"]),
            "deflated": format_probability(found["dsr"]),
            "alpha PSR": format_probability(found["alpha_psr"]),
            "alpha, deflated": format_probability(found["alpha_dsr"]),
            "days needed": _days(found["min_track_days"]),
            "days needed, alpha": _days(found["alpha_min_track_days"]),
            "break-even cost per side": format_value(break_even[model], "cost"),
        }
        for model, found in models.items()
    ]
    return pd.DataFrame(rows)


def _evenness(stability: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    rows = []
    for model in models:
        even = stability_metrics(stability[stability["model"] == model])
        rows.append({"model": model} | {f"{part}s up": _share(even[f"{part}s_positive"]) for part in PARTS})
        for part in ("month", "pair"):
            name, rest = even[f"best_{part}"], even[f"return_without_best_{part}"]
            rows[-1][f"without the best {part}"] = (
                MISSING if name is None else f"{format_value(rest, 'percent')} ({name})"
            )
    return pd.DataFrame(rows)


def _share(value: float | None) -> str:
    return MISSING if value is None else f"{100.0 * value:.0f} %"


def _days(value: int | None) -> str:
    return "never" if value is None else f"{value:,}"
