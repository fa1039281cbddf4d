"""What the options of all boosted trees share."""

from typing import Any

from pydantic import Field

from agent_market.adapters import ModelOptions


class BoostingOptions(ModelOptions):
    """Number and speed of the trees, under the names that the libraries give them, and what is passed on as it is."""

    n_estimators: int = Field(400, ge=1, description="most trees; early stopping usually takes fewer")
    early_stopping: int = Field(50, ge=0, description="rounds without a better validation loss; 0 = off")
    learning_rate: float = Field(0.03, gt=0)
    threads: int = Field(1, ge=1, description="threads of one fit; folds run side by side anyway")
    params: dict[str, Any] = Field({}, description="any further parameter of the library")
