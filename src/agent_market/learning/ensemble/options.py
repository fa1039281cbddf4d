"""Parameters of an ensemble of models; nothing here needs a model library."""

from typing import Literal, Self

from pydantic import Field, model_validator

from agent_market.adapters import ModelOptions

Method = Literal["mean", "rank_mean", "ic_weights", "stacking", "diverse"]


class Options(ModelOptions):
    """Which models are blended, and how; each fold has weights of its own, made before its test window begins."""

    adapter: Literal["ensemble"] = "ensemble"
    task: Literal["regression"] = Field("regression", description="there is no other: what comes out is a score")
    preprocessing: tuple[()] = Field((), description="none: members bring their own")
    warm_start: Literal[False] = Field(False, description="there is nothing to go on from")
    members: tuple[str, ...] = Field(min_length=2, description="names of configured models, of any family")
    method: Method = Field(
        "mean",
        description="mean: of predictions, each in deviations of its own; rank_mean: of their ranks; ic_weights: "
        "weights in proportion to the IC; stacking: weights of the least-squares fit to the label that are not "
        "negative; diverse: the mean of those members that together promise the highest IC",
    )
    evidence: Literal["validation", "tested"] = Field(
        "validation",
        description="what weights and scales rest on: predictions of the fold's validation window, or of earlier "
        "folds' test windows, which no member stopped by (of the first fold, which has none before it, the former)",
    )
    measure: Literal["ic", "rank_ic"] = Field("rank_ic", description="which IC ic_weights and diverse go by")

    @model_validator(mode="after")
    def _members_differ(self) -> Self:
        if len(set(self.members)) < len(self.members):
            raise ValueError(f"members {list(self.members)}: name each model once")
        return self
