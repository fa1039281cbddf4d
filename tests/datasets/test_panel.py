import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, DatasetError, Version
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner
from kedro_datasets.pandas import ParquetDataset

from agent_market.datasets.panel import PanelDataset
from agent_market.errors import DataError
from agent_market.factors import compute_factors
from agent_market.factors.panel_folder import StoredPanel, write_panel
from agent_market.factors.store import stream_features
from agent_market.learning.labels import LabelOptions, build_labels
from panels import random_candles, random_features

CANDLES = random_candles(3, 200)
FEATURES = random_features(CANDLES).assign(f0=lambda t: t["f0"].where(t.index % 7 != 0))
PARTS = [(pair, rows) for pair, rows in FEATURES.groupby("pair", observed=True)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "features"


@pytest.fixture
def dataset(folder):
    return PanelDataset(filepath=str(folder))


def same(found, expected):
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


# ---- a table in, a table out


@pytest.mark.parametrize(
    "table",
    [FEATURES, CANDLES, build_labels(CANDLES, LabelOptions(horizons=(2,)), timeframe="1h")],
    ids=["features", "candles", "labels"],
)
def test_a_table_comes_back_as_from_one_parquet_file(table, dataset, tmp_path):
    one_file = ParquetDataset(filepath=str(tmp_path / "one.parquet"))
    for each in (dataset, one_file):
        each.save(table)
    same(dataset.load(), table)
    same(dataset.load(), one_file.load())


def test_pairs_without_rows_are_no_categories(dataset):
    dataset.save(FEATURES[FEATURES["pair"] != "BB/USDT"])
    assert list(dataset.load()["pair"].cat.categories) == ["AA/USDT", "CC/USDT"]


def test_parts_are_written_as_they_are_made(dataset, folder):
    drafts = []

    def make():
        for pair, rows in PARTS:
            for part in (rows.iloc[:150], rows.iloc[150:]):
                yield pair, part
                drafts.append(len(list(folder.with_name(".features.draft").glob("*.parquet"))))
                assert not folder.exists()

    dataset.save(make())
    assert drafts == [1, 1, 2, 2, 3, 3]
    same(dataset.load(), FEATURES)


def test_the_folder_says_what_is_in_it_and_any_tool_reads_its_files(dataset, folder):
    dataset.save(FEATURES)
    contents = json.loads((folder / "panel.json").read_text())
    assert list(contents["columns"]) == ["date", "f0", "f1", "f2", "f3", "f4"]
    assert contents["pairs"][0] == {
        "pair": "AA/USDT",
        "rows": 200,
        "first": "2024-01-01T00:00:00+00:00",
        "last": "2024-01-09T07:00:00+00:00",
        "files": [{"file": "AA_USDT.parquet", "rows": 200}],
    }
    table = pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("*.parquet"))], ignore_index=True)
    assert table["pair"].astype(str).tolist() == FEATURES["pair"].astype(str).tolist()


def test_pairs_get_files_of_their_own_whatever_their_names(dataset, folder):
    names = ["../../x", "A/B", "AB/C:C", "A_B", "a/b"]
    parts = [(n, PARTS[0][1].assign(pair=pd.Categorical([n] * 200))) for n in names]
    dataset.save(parts)
    assert dataset.load()["pair"].cat.categories.tolist() == names
    files = sorted(path.name.lower() for path in folder.glob("*.parquet"))
    assert files == ["_x.parquet", "a_b.parquet", "a_b~1.parquet", "a_b~2.parquet", "ab_c_c.parquet"]


# ---- the lazy handle


@pytest.fixture
def panel(folder):
    parts = [(pair, rows.iloc[i : i + 70]) for pair, rows in PARTS for i in (0, 70, 140)]
    write_panel(folder, parts)
    return PanelDataset(filepath=str(folder), load_args={"lazy": True}).load()


def test_a_handle_knows_what_is_stored(panel):
    assert isinstance(panel, StoredPanel)
    assert panel.pairs == ("AA/USDT", "BB/USDT", "CC/USDT")
    assert panel.columns == tuple(FEATURES.columns)
    assert (len(panel), panel.rows["BB/USDT"]) == (600, 200)


def test_a_handle_is_iterated_by_pair(panel):
    for (pair, found), (expected_pair, expected) in zip(panel, PARTS, strict=True):
        assert pair == expected_pair
        same(found, expected.reset_index(drop=True).assign(pair=pd.Categorical([pair] * 200)))


@pytest.mark.parametrize(("start", "stop"), [(0, 0), (0, 5), (69, 71), (70, 140), (100, 199), (150, 999), (200, 300)])
def test_rows_are_read_across_the_parts_they_were_written_in(panel, start, stop):
    found = panel.read("BB/USDT", ["f3", "date", "pair"], start=start, stop=stop)
    expected = PARTS[1][1].iloc[start:stop].reset_index(drop=True)
    assert list(found.columns) == ["f3", "date", "pair"]
    same(found[["date", "f3"]], expected[["date", "f3"]])


def test_columns_that_are_not_asked_for_are_not_read(panel, folder):
    import pyarrow.parquet as pq

    path = folder / "AA_USDT.parquet"
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(FEATURES.columns.get_loc("f1"))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(data)
    same(panel.to_pandas(["date", "f2"]), FEATURES[["date", "f2"]])
    with pytest.raises(DataError, match=r"AA_USDT.parquet cannot be read.*make the table anew"):
        panel.to_pandas(["f1"])


def test_columns_and_pairs_can_be_chosen_in_the_catalog(panel, folder):
    chosen = PanelDataset(filepath=str(folder), load_args={"columns": ["pair", "f2"], "pairs": ["CC/USDT"]}).load()
    expected = PARTS[2][1][["pair", "f2"]].reset_index(drop=True)
    same(chosen, expected.assign(pair=pd.Categorical(["CC/USDT"] * 200)))


def test_a_wrong_column_or_pair_is_named_with_those_there_are(panel):
    with pytest.raises(DataError, match="no column f9; it has pair, date, f0"):
        panel.read("AA/USDT", ["f9"])
    with pytest.raises(DataError, match=r"XX/USDT is not stored in .*; it has AA/USDT"):
        panel.read("XX/USDT")
    with pytest.raises(DataError, match="none of the pairs"):
        panel.to_pandas(pairs=["XX/USDT"])


# ---- files taken over


@pytest.fixture(params=["linked", "copied"])
def extended(panel, tmp_path, request, monkeypatch):
    """The first two pairs in older files, with rows of their own behind."""
    if request.param == "copied":

        def fails(*_):
            raise OSError("no links here")

        monkeypatch.setattr(Path, "hardlink_to", fails)
    later = [rows.assign(date=(rows["date"] + pd.Timedelta("300h")).dt.as_unit("ms")).iloc[:50] for _, rows in PARTS]
    parts = []
    for (pair, _), rows in zip(PARTS[:2], later[:2], strict=True):
        parts += [(pair, panel.first_files(pair, 200)), (pair, rows)]
    write_panel(tmp_path / "extended", [*parts, PARTS[2]])
    expected = pd.concat([PARTS[0][1], later[0], PARTS[1][1], later[1], PARTS[2][1]], ignore_index=True)
    return StoredPanel.open(tmp_path / "extended"), expected


def test_files_of_another_folder_can_begin_a_pair(extended, panel):
    found, expected = extended
    same(found.to_pandas(), expected)
    assert found.rows == {"AA/USDT": 250, "BB/USDT": 250, "CC/USDT": 200}
    assert found.files["AA/USDT"] == (("AA_USDT.parquet", 200), ("AA_USDT~1.parquet", 50))
    same(panel.to_pandas(), FEATURES)


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (60, 80), (190, 210), (200, 201), (205, 250), (250, 260), (9, 9)])
def test_rows_are_read_across_files(extended, start, stop):
    found, expected = extended
    of_pair = expected[expected["pair"] == "BB/USDT"].iloc[start:stop].reset_index(drop=True)
    same(found.read("BB/USDT", ["date", "f4"], start=start, stop=stop), of_pair[["date", "f4"]])


def test_only_whole_files_are_taken_over(extended):
    found, _ = extended
    assert [len(found.first_files("AA/USDT", rows)) for rows in (0, 199, 200, 249, 250)] == [0, 0, 200, 200, 250]


def test_the_spread_of_stored_files_is_that_of_their_rows(extended):
    found, expected = extended
    low, high = found.first_files("AA/USDT", 250).spread(["f0", "f3"])
    rows = expected[expected["pair"] == "AA/USDT"]
    assert (low.tolist(), high.tolist()) == (rows[["f0", "f3"]].min().tolist(), rows[["f0", "f3"]].max().tolist())


# ---- half-written tables


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
@pytest.mark.parametrize("versioned", [True, False])
def test_a_save_that_fails_leaves_nothing_behind_and_the_older_table_as_it_was(versioned, error, folder):
    def fails():
        yield PARTS[0]
        raise error

    def dataset(version):
        return PanelDataset(filepath=str(folder), version=Version(None, version) if versioned else None)

    dataset("2024-01-01T00.00.00.000Z").save(FEATURES)
    with pytest.raises((DatasetError, KeyboardInterrupt)):
        dataset("2024-01-02T00.00.00.000Z").save(fails())
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["2024-01-01T00.00.00.000Z"] * versioned
    assert not list(folder.parent.rglob("*.draft"))
    same(dataset(None).load(), FEATURES)


def test_nothing_is_there_before_the_first_save(dataset, folder):
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="holds no panel table"):
        dataset.load()
    for version in (None, Version(None, None)):
        optional = PanelDataset(filepath=str(folder), load_args={"lazy": True, "optional": True}, version=version)
        assert optional.load() is None
        assert not optional.exists()


def test_a_table_can_be_made_from_the_one_that_it_replaces(dataset, folder):
    dataset.save(FEATURES)
    dataset.save((pair, rows.assign(f0=np.float32(1))) for pair, rows in dataset.open())
    same(dataset.load(), FEATURES.assign(f0=np.float32(1)))


def test_each_version_is_a_folder_and_the_last_one_is_loaded(folder):
    for day in (1, 2):
        dataset = PanelDataset(filepath=str(folder), version=Version(None, f"2024-01-0{day}T00.00.00.000Z"))
        dataset.save(FEATURES.assign(f0=np.float32(day)))
    newest = PanelDataset(filepath=str(folder), version=Version(None, None))
    assert newest.exists()
    assert (newest.load()["f0"] == 2).all()
    first = PanelDataset(filepath=str(folder), version=Version("2024-01-01T00.00.00.000Z", None))
    assert (first.load()["f0"] == 1).all()


# ---- what is refused


BAD = {
    "in alphabetical order, each once": [PARTS[1], PARTS[0]],
    "AA/USDT comes after BB/USDT": [*PARTS[:2], PARTS[0]],
    "of AA/USDT are not in order of date": [("AA/USDT", PARTS[0][1].iloc[::-1])],
    "a date stands twice": [("AA/USDT", PARTS[0][1].iloc[:9]), ("AA/USDT", PARTS[0][1].iloc[8:])],
    "other columns or types than the rows before it: f1": [PARTS[0], ("BB/USDT", PARTS[1][1].drop(columns="f1"))],
    "types than the rows before it: f2": [PARTS[0], ("BB/USDT", PARTS[1][1].astype({"f2": float}))],
    "to be stored as AA/USDT are of": [("AA/USDT", PARTS[1][1])],
    "begins with the columns pair and date": [("AA/USDT", PARTS[0][1][["f1", "pair", "date"]])],
    "without rows cannot be stored": [("AA/USDT", PARTS[0][1].iloc[:0])],
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_parts_that_make_no_table_are_refused(message, dataset):
    with pytest.raises(DatasetError, match=message):
        dataset.save(BAD[message])
    assert not dataset.exists()


def test_a_table_that_is_not_sorted_by_pair_is_refused(dataset):
    with pytest.raises(DatasetError, match="alphabetical order"):
        dataset.save(FEATURES.sort_values("date", kind="stable"))


def test_a_folder_of_a_later_format_is_refused(dataset, folder):
    dataset.save(FEATURES)
    contents = json.loads((folder / "panel.json").read_text())
    (folder / "panel.json").write_text(json.dumps(contents | {"format": 2}))
    with pytest.raises(DatasetError, match="panel format 2, this version reads 1"):
        dataset.load()


def test_unknown_load_args_are_refused(folder):
    with pytest.raises(DatasetError, match="lazzy"):
        PanelDataset(filepath=str(folder), load_args={"lazzy": True})


def test_the_schema_sees_every_part(folder):
    dataset = PanelDataset(filepath=str(folder), schema="agent_market.schemas.Features")
    dataset.save(iter(PARTS))
    bad = [*PARTS[:2], ("CC/USDT", PARTS[2][1].assign(f1="text"))]
    with pytest.raises(DatasetError, match="factors are float32"):
        dataset.save(iter(bad))
    same(dataset.load(), FEATURES)


def test_the_preview_is_the_first_rows(dataset):
    dataset.save(FEATURES)
    preview = dataset.preview(nrows=3)
    assert preview["columns"] == list(FEATURES.columns)
    assert len(preview["data"]) == 3
    assert preview["data"][2][:2] == ["AA/USDT", pd.Timestamp("2024-01-01 02:00", tz="UTC")]


# ---- in a pipeline


def test_a_pipeline_carries_its_features_on_from_run_to_run(tmp_path, caplog):
    factors = {"mean": "ts_max(close, 20) / close", "rank": "cs_rank(close)"}

    def build(candles, stored):
        return stream_features(candles, factors, timeframe="1h", stored=stored)

    pipeline = Pipeline([Node(build, ["candles", "stored_features"], "features", name="build")])
    entry = {
        "type": "agent_market.datasets.panel.PanelDataset",
        "filepath": str(tmp_path / "features"),
        "versioned": True,
    }
    config = {
        "features": {**entry, "schema": "agent_market.schemas.Features"},
        "stored_features": {**entry, "load_args": {"lazy": True, "optional": True}},
        "candles": {"type": "kedro.io.MemoryDataset"},
    }
    caplog.set_level("INFO")
    for day, candles in enumerate(
        (CANDLES[CANDLES["date"] < CANDLES["date"].max()].reset_index(drop=True), CANDLES), 1
    ):
        catalog = DataCatalog.from_config(config, save_version=f"2024-01-0{day}T00.00.00.000Z")
        catalog["candles"].save(candles)
        SequentialRunner().run(pipeline, catalog)
    same(catalog.load("features"), compute_factors(CANDLES, factors, timeframe="1h"))
    assert "597 of 600 rows of features are kept" in caplog.text


def test_the_projects_catalog_carries_features_on_from_run_to_run(tmp_path, caplog):
    entries = (Path(__file__).parents[2] / "conf" / "base" / "catalog" / "feature_store.yml").read_text(
        encoding="utf-8"
    )
    config = yaml.safe_load(entries.replace("${globals:data}", str(tmp_path)))

    def build(candles, stored):
        return stream_features(candles, {"f": "returns", "g": "ts_mean(close, 3)"}, timeframe="1h", stored=stored)

    nodes = [
        Node(build, ["candles", "stored_features"], "features", name="build"),
        Node(lambda table: len(table), "features", "n_rows", name="whole"),
    ]
    caplog.set_level("INFO")
    for version in ("2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"):
        entries = {name: config[name] for name in ("features", "stored_features")}
        entries["candles"] = {"type": "kedro.io.MemoryDataset", "data": CANDLES}
        catalog = DataCatalog.from_config(entries, save_version=version)
        assert SequentialRunner().run(Pipeline(nodes), catalog)["n_rows"].load() == len(CANDLES)
    assert len(list((tmp_path / "04_feature" / "features").iterdir())) == 2
    assert f"{len(CANDLES)} of {len(CANDLES)} rows of features are kept" in caplog.text


def test_a_save_that_fails_ends_the_stream_and_what_it_keeps_on_disk(folder, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    stream = stream_features(CANDLES, {"rank": "cs_rank(close)"}, timeframe="1h", scratch=scratch)
    with pytest.raises(DatasetError, match="open"):
        PanelDataset(filepath=str(folder), schema="agent_market.schemas.Candles").save(stream)
    assert not list(scratch.iterdir())
