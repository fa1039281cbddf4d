import json

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError

from agent_market.adapters import parse_model_options
from agent_market.datasets import HTMLReportDataset, TrainedModelDataset
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from panels import random_candles, random_features

CANDLES = random_candles(3, 24 * 25)
FEATURES = random_features(CANDLES)
FACTORS = dict.fromkeys(FEATURES.columns[2:], "close")


@pytest.fixture(scope="module")
def trained():
    labels = build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")
    folds = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="3d", test="5d"), timeframe="1h")
    options = parse_model_options({"adapter": "sklearn"})
    return walk_forward(FEATURES, FACTORS, labels, folds, options, TrainingOptions(horizon=2), timeframe="1h")


def test_a_model_comes_back_as_it_was(trained, tmp_path):
    model, predictions = trained
    dataset = TrainedModelDataset(filepath=str(tmp_path / "model"))
    dataset.save(model)
    again = dataset.load()
    assert again.describe() == model.describe()
    for fold, table in predictions.groupby("fold"):
        known = again.predict(FEATURES, FACTORS, "sane", fold=fold).merge(table, on=["pair", "date"])
        np.testing.assert_array_equal(known["prediction_x"], known["prediction_y"])


def test_the_folder_says_what_the_model_is(trained, tmp_path):
    TrainedModelDataset(filepath=str(tmp_path / "model")).save(trained[0])
    facts = json.loads((tmp_path / "model" / "adapter.json").read_text())
    assert facts["adapter"] == "sklearn"
    assert (facts["factors"], facts["compat"]) == (FACTORS, "sane")
    assert set(facts["fingerprint"]) == {"data", "code"}
    files = {path.name for path in (tmp_path / "model").rglob("*") if path.is_file()}
    assert files == {"adapter.json", "model.skops", "preprocessing.skops"}


def test_a_save_that_fails_leaves_no_half_of_a_model(trained, tmp_path, monkeypatch):
    from agent_market.adapters import sklearn

    written = []

    def fails_on_the_second_fold(model, folder):
        if written:
            raise OSError("the disk is full")
        written.append(folder)
        (folder / "model.skops").write_bytes(b"")

    monkeypatch.setattr(sklearn, "save", fails_on_the_second_fold)
    dataset = TrainedModelDataset(filepath=str(tmp_path / "model"))
    with pytest.raises(DatasetError, match="the disk is full"):
        dataset.save(trained[0])
    assert written
    assert not dataset.exists()
    with pytest.raises(DatasetError):
        dataset.load()


def test_the_fingerprint_of_the_data_changes_with_the_data(trained):
    labels = build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")
    folds = make_folds(CANDLES["date"], FoldOptions(train="10d", valid="3d", test="5d"), timeframe="1h")
    options, training = parse_model_options({"adapter": "sklearn"}), TrainingOptions(horizon=2)
    changed = FEATURES.assign(f0=FEATURES["f0"].where(FEATURES.index != 100, 9.0).astype("float32"))
    prints = [
        walk_forward(features, FACTORS, labels, folds, options, training, timeframe="1h")[0].fingerprint["data"]
        for features in (FEATURES, changed)
    ]
    assert prints[0] == trained[0].fingerprint["data"]
    assert prints[0] != prints[1]


def test_a_report_is_text_in_and_text_out(tmp_path):
    dataset = HTMLReportDataset(filepath=str(tmp_path / "new" / "report.html"))
    assert not dataset.exists()
    dataset.save("<p>Größe</p>")
    assert dataset.load() == "<p>Größe</p>"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]


def test_tables_of_the_contracts_keep_their_types_in_parquet(tmp_path):
    CANDLES.to_parquet(tmp_path / "candles.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "candles.parquet"), CANDLES)
