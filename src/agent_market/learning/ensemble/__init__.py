"""Models made of other models; a module of the functions of an adapter, but for `fit`, which needs fitted members.

`blend_models` takes the place of `walk_forward`: it turns what the members said before each test window into weights,
and their predictions of that window into one score.
"""

from collections.abc import Callable
from typing import Any

from agent_market.adapters import Progress
from agent_market.errors import ModelError
from agent_market.learning.ensemble.blend import Blend, Evidence, fit_blend
from agent_market.learning.ensemble.fitting import MemberRun, blend_models
from agent_market.learning.ensemble.model import Ensemble, Member, importance, load, predict, save
from agent_market.learning.ensemble.options import Options
from agent_market.learning.samples import Samples

__all__ = [
    "STAGE",
    "Blend",
    "Ensemble",
    "Evidence",
    "Member",
    "MemberRun",
    "Options",
    "blend_models",
    "fit",
    "fit_blend",
    "importance",
    "load",
    "predict",
    "save",
    "suggest",
]

STAGE = "ensemble"


def fit(train: Samples, valid: Samples | None, options: Options, *, report: Callable[[Progress], None]) -> Ensemble:
    """Raise ModelError: an ensemble is made of fitted models by `blend_models`, and not of rows."""
    raise ModelError(
        f"an ensemble of {', '.join(options.members)} cannot be fitted to rows: run the pipeline `ensemble` after "
        "those that train its members"
    )


def suggest(trial: Any) -> dict[str, Any]:
    """Nothing: what an ensemble chooses, it chooses on validation predictions."""
    return {}
