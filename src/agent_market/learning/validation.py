"""What each fold's model says of its own validation window: out of sample, but for how long it was trained."""

import numpy as np
import pandas as pd

from agent_market.learning.folds import test_rows
from agent_market.learning.samples import FeatureTensor
from agent_market.learning.trained import TrainedModel


def predict_validation(
    model: TrainedModel, features: pd.DataFrame, factors: dict[str, str], compat: str, folds: pd.DataFrame
) -> pd.DataFrame:
    """What each fold's model says of the rows of its validation window: pair, date, fold, prediction, kind.

    No model was fitted to these rows. One that stops early has looked at them to choose when, so that they flatter it a
    little; one that does not stop early has never seen them. Windows of two folds may overlap: rows are sorted by fold,
    pair and date. `factors` and `compat` say how the features were computed.

    Raises:
        ModelError: The features are not those that the model was trained on.
    """
    model.check_factors(factors, compat)
    tensor = FeatureTensor.from_frame(features, timeframe=model.timeframe, max_gap=model.max_gap)
    windows = folds.set_index("fold")
    tables = []
    for part in model.folds:
        window = windows.loc[part.fold]
        rows = test_rows(tensor.date, window["valid_start"], window["valid_end"])
        rows = rows[np.isfinite(tensor.values[rows]).any(axis=1)]
        said = part.predict(model.adapter, tensor, rows) if len(rows) else np.empty(0)
        keys = {"pair": tensor.pair[rows], "date": tensor.date[rows], "fold": part.fold}
        tables.append(pd.DataFrame({**keys, "prediction": said, "kind": model.kind}))
    return pd.concat(tables, ignore_index=True)
