"""What the figures of a run cannot show, said beside them."""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def run_caveats(
    *,
    verdicts: Mapping[str, Mapping[str, Any]],
    days: int,
    n_pairs: int,
    signal_strength: float | None = None,
    placebo_certified: bool = False,
    slippage: float | None = None,
    engines_agree: Mapping[str, bool | None] | None = None,
) -> list[str]:
    """Sentences that a reader must know before believing the report.

    Args:
        verdicts: as of `edge_verdict`.
        days: daily returns in the test span.
        n_pairs: pairs traded.
        signal_strength: the simulator's dial; None for real candles.
        placebo_certified: whether the same pipeline was shown to find nothing in a market without a signal.
        slippage: fraction per fill that the backtest assumed; None if not known.
        engines_agree: model → whether both backtests made the same trades; None if freqtrade did not run.
    """
    caveats = [*_about_the_market(signal_strength)]
    if not placebo_certified and signal_strength != 0.0:
        caveats.append(
            "Placebo certificate not run: this pipeline has not been shown, with these settings, to find nothing in "
            "a market without a signal."
        )
    if days < 365:
        caveats.append(
            f"The test span has {days} daily returns, less than a year: few kinds of market, wide intervals."
        )
    if n_pairs < 3:
        caveats.append(
            f"With {n_pairs} pair{'s' if n_pairs != 1 else ''} the information coefficients are correlations over "
            "time, not across pairs; they include the direction of the market."
        )
    if slippage == 0.0:
        caveats.append("No slippage was assumed: every order fills at the open, which a live order will not.")
    caveats.append(
        f"The level is corrected for the {len(verdicts)} models shown, not for tuning trials or for earlier runs on "
        "the same candles. The more was tried before, the less a claim is worth."
    )
    different = [model for model, agree in (engines_agree or {}).items() if agree is False]
    if different:
        caveats.append(
            f"The embedded backtest and freqtrade made different trades for {', '.join(different)}; see the "
            "comparison of engines before relying on either."
        )
    return caveats


def mined_caveat(mined: Mapping[str, str | None], n_factors: int, folds: pd.DataFrame) -> str | None:
    """The sentence about factors that were chosen with test windows in sight; None if there are none.

    Args:
        mined: name → date until which candles were seen when the factor was chosen; None if not known.
        n_factors: all factors that models saw.
        folds: with test_start and test_end.
    """
    if not mined:
        return None
    share = f"{len(mined)} of {n_factors} factors were mined"
    if None in mined.values():
        return (
            f"{share}, nobody knows on which candles: what they earn in test windows may be what they were chosen for."
        )
    until = max(pd.Timestamp(date) for date in mined.values())
    windows = [(row.test_start, row.test_end) for row in folds.itertuples(index=False)]
    total = sum((end - start).days for start, end in windows)
    unseen = sum(max((end - max(start, until)).days, 0) for start, end in windows)
    return (
        f"{share} and tested on candles until {until:%Y-%m-%d}: test windows before that date look better than they "
        f"are. {unseen} of {total} test days come after it."
    )


def _about_the_market(signal_strength: float | None) -> list[str]:
    if signal_strength is None:
        return [
            "Survivorship: the pairs are those whose candles are in the data folder. Pairs that were delisted and "
            "left out would have made results worse."
        ]
    if signal_strength == 0.0:
        return ["A simulated placebo market: there is nothing to find, and any claim of an edge is false."]
    return [
        f"A simulated market with a signal planted at strength {signal_strength:g}: the results show whether the "
        "pipeline works and are no evidence of profit in a real market."
    ]
