import numpy as np
import pandas as pd
import pytest

from agent_market.adapters import parse_model_options
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from panels import random_candles, random_features

CANDLES = random_candles(4, 24 * 30)
FEATURES = random_features(CANDLES)
FACTORS = dict.fromkeys(FEATURES.columns[2:], "close")
FOLDS = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="3d", test="5d"), timeframe="1h")
LABELS = build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")


def _run(folder, *, adapter="toys.descent", features=FEATURES, **options):
    options = parse_model_options({"adapter": adapter, **options})
    training = TrainingOptions(horizon=2, n_jobs=1, checkpoints=folder)
    return walk_forward(features, FACTORS, LABELS, FOLDS, options, training, timeframe="1h", name="mine")[1]


def _interrupt(descent, folder, *, call=2, epoch=3, **options):
    descent.CALLS.clear()
    descent.BREAK_IN.update(call=call, epoch=epoch)
    with pytest.raises(RuntimeError, match="the power went out"):
        _run(folder, **options)
    descent.BREAK_IN.clear()
    descent.CALLS.clear()


@pytest.mark.parametrize("warm_start", [False, True])
def test_an_interrupted_run_comes_to_the_same_end(descent, tmp_path, warm_start):
    undisturbed = _run(None, warm_start=warm_start)
    _interrupt(descent, tmp_path, warm_start=warm_start)
    folders = sorted(path.name.partition("-")[0] for path in (tmp_path / "mine").iterdir())
    assert folders == ["fold_00", "fold_01"]
    resumed = _run(tmp_path, warm_start=warm_start)
    assert [call["first"] for call in descent.CALLS] == [4, 2, 0]  # a whole fit, half a one, none
    pd.testing.assert_frame_equal(resumed, undisturbed)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_resumed_from_other_options_data_or_seed(descent, tmp_path):
    other = FEATURES.assign(f0=FEATURES["f0"].where(FEATURES.index != 100, 9.0).astype("float32"))
    for change in ({"features": other}, {"seed": 1}, {"rate": 0.2}, {"warm_start": True}):
        _interrupt(descent, tmp_path)
        _run(tmp_path, **change)
        assert [call["first"] for call in descent.CALLS] == [0, 0, 0], change
    descent.CALLS.clear()
    _run(tmp_path)
    assert [call["first"] for call in descent.CALLS] == [4, 2, 0], "what the first run left is still good"


def test_models_of_equal_options_do_not_share_a_checkpoint(descent, tmp_path):
    options = parse_model_options({"adapter": "toys.descent"})
    training = TrainingOptions(horizon=2, n_jobs=1, checkpoints=tmp_path)
    for name in ("one", "two"):
        walk_forward(FEATURES, FACTORS, LABELS, FOLDS, options, training, timeframe="1h", name=name)
    folders = [call["checkpoint"] for call in descent.CALLS]
    assert len(set(folders)) == 6
    assert {folder.parent.name for folder in folders} == {"one", "two"}


def test_how_folds_are_spread_does_not_matter_to_a_checkpoint(descent, tmp_path):
    _interrupt(descent, tmp_path)
    options = parse_model_options({"adapter": "toys.descent"})
    training = TrainingOptions(horizon=2, n_jobs=2, checkpoints=tmp_path)
    walk_forward(FEATURES, FACTORS, LABELS, FOLDS, options, training, timeframe="1h", name="mine")
    assert sorted(call["first"] for call in descent.CALLS) == [0, 2, 4]


def test_adapters_that_cannot_resume_are_not_asked_to(tmp_path):
    predictions = _run(tmp_path, adapter="lightgbm", n_estimators=3)
    assert np.isfinite(predictions["prediction"]).all()
    assert list(tmp_path.iterdir()) == []
