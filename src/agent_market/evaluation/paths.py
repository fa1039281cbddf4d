"""What the paths of combinatorial cross-validation came to: their spread, as a number and as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from agent_market.evaluation.drawing import GREY, OKABE_ITO, finish
from agent_market.evaluation.jsonable import to_jsonable

if TYPE_CHECKING:
    import plotly.graph_objects as go

TRADED = ("sharpe", "total_return", "max_drawdown", "trades")
"""Figures of trading that each path has."""

NO_TRACK_RECORD = (
    "A robustness study, not a track record: each path was foretold by models that were trained on candles after it as "
    "well as before it. It shows how far a result hangs on one course of time. None of these models is stored, and "
    "none can be exported."
)
AS_CONFIGURED = "Models have the options of the parameters: tuned ones were chosen on candles that are tested here."


def path_summary(paths: pd.DataFrame, *, groups: int, test_groups: int, tuned: bool) -> dict[str, Any]:
    """JSON-ready: `what` it is, and for each model number, mean, deviation (ddof 1), lowest and highest over its paths
    of RankIC and Sharpe ratio, and the share of paths with a loss.

    Paths share training candles, and test the same ones: they are no independent samples, and their deviation is no
    standard error.
    """
    models = {}
    for model, table in paths.groupby("model", sort=False):
        spread = {
            name: {
                "mean": table[name].mean(),
                "deviation": table[name].std(),
                "lowest": table[name].min(),
                "highest": table[name].max(),
            }
            for name in ("rank_ic", "sharpe")
        }
        models[str(model)] = {"paths": len(table), **spread, "share_of_losses": (table["total_return"] < 0).mean()}
    caveats = [NO_TRACK_RECORD, *([AS_CONFIGURED] if tuned else [])]
    return to_jsonable({"what": " ".join(caveats), "groups": groups, "test_groups": test_groups, "models": models})


def path_figure(paths: pd.DataFrame) -> go.Figure:
    """The annual Sharpe ratio of each path, a point each, by model; a line marks their mean."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for model, table in paths.groupby("model", sort=False):
        figure.add_trace(
            go.Box(
                y=table["sharpe"].tolist(),
                name=str(model),
                boxpoints="all",
                boxmean=True,
                jitter=0.4,
                pointpos=0,
                marker={"color": OKABE_ITO[0], "size": 6},
                line={"color": GREY},
                fillcolor="rgba(0,0,0,0)",
                text=[f"path {path}" for path in table["path"]],
                showlegend=False,
            )
        )
    figure.update_yaxes(title_text="Sharpe ratio, annual, net of costs")
    return finish(figure, "Every path: a robustness study, not a track record", hovermode="closest")
