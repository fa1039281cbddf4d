"""What a user can get wrong ends in one plain message, a non-zero exit code, and nothing half-written."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from projects import kedro, stored


def _candles(hours: int = 1500, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, hours)))
    opens = np.r_[100.0, close[:-1]]
    return pd.DataFrame(
        {
            "date": pd.date_range("2024-01-01", periods=hours, freq="h", tz="UTC").as_unit("ms"),
            "open": opens,
            "high": np.maximum(opens, close) * 1.002,
            "low": np.minimum(opens, close) * 0.998,
            "close": close,
            "volume": rng.lognormal(3, 1, hours),
        }
    )


@pytest.fixture
def datadir(tmp_path) -> Path:
    folder = tmp_path / "candles"
    folder.mkdir()
    for number, pair in enumerate(("AAA_USDT", "BBB_USDT", "CCC_USDT")):
        _candles(seed=number).to_feather(folder / f"{pair}-1h.feather")
    return folder


def _fails(tmp_path, parameters: str, *expected: str, saved: set[str] = frozenset(), args: tuple = ()) -> None:
    data = tmp_path / "data"
    run = kedro("run", "--env", "test", *args, "--params", parameters, data=data)
    said = run.stdout + run.stderr
    assert run.returncode != 0, said
    assert "Traceback" not in said, said
    message = " ".join(said[said.index("Error:") :].split())
    for text in expected:
        assert text in message, message
    assert {Path(name).name for name in stored(data)} == set(saved)
    assert not list(data.rglob("*.draft"))


def _from(datadir: Path, more: str = "") -> str:
    return f"market.source=freqtrade_datadir,market.datadir={datadir}{more}"


def test_a_missing_datadir(tmp_path):
    _fails(tmp_path, _from(tmp_path / "nowhere"), "nowhere", "market.datadir")


def test_no_datadir_at_all(tmp_path):
    _fails(tmp_path, "market.source=freqtrade_datadir", "market.datadir")


def test_an_empty_file(tmp_path, datadir):
    (datadir / "AAA_USDT-1h.feather").write_bytes(b"")
    _fails(tmp_path, _from(datadir), "AAA_USDT-1h.feather", "empty")


def test_a_truncated_feather(tmp_path, datadir):
    file = datadir / "AAA_USDT-1h.feather"
    file.write_bytes(file.read_bytes()[:2000])
    _fails(tmp_path, _from(datadir), "AAA_USDT-1h.feather")


def test_a_file_without_a_column(tmp_path, datadir):
    _candles().drop(columns="high").to_feather(datadir / "AAA_USDT-1h.feather")
    _fails(tmp_path, _from(datadir), "AAA_USDT-1h.feather", "high")


def test_a_csv_instead_of_freqtrades_files(tmp_path, datadir):
    for file in datadir.iterdir():
        file.unlink()
    _candles().to_csv(datadir / "AAA_USDT-1h.csv")
    _fails(tmp_path, _from(datadir), "csv", "feather")


def test_a_csv_under_the_name_of_a_feather(tmp_path, datadir):
    _candles().to_csv(datadir / "AAA_USDT-1h.feather")
    _fails(tmp_path, _from(datadir), "AAA_USDT-1h.feather")


def test_duplicate_candles(tmp_path, datadir):
    candles = _candles()
    doubled = pd.concat([candles, candles.iloc[[7]]]).sort_values("date", ignore_index=True)
    doubled.to_feather(datadir / "AAA_USDT-1h.feather")
    _fails(
        tmp_path,
        _from(datadir),
        "AAA/USDT",
        "2024-01-01 07:00",
        "market.on_duplicates",
        args=("--pipelines", "data_engineering"),
        saved={"candles.parquet"},  # the raw ones, as they were read
    )


def test_an_unknown_adapter(tmp_path):
    _fails(tmp_path, "models.mine.adapter=lightgmb", "models.mine", "'lightgmb'", "Did you mean lightgbm?")


def test_a_misspelt_parameter_names_the_key_and_its_place(tmp_path):
    _fails(
        tmp_path,
        "models.lightgbm.num_leafs=3",
        "models.lightgbm.num_leafs: unknown key; did you mean num_leaves? (--params)",
    )


def test_a_misspelt_block_is_not_passed_over(tmp_path):
    _fails(tmp_path, "modles.lightgbm.num_leaves=3", "modles: unknown key; did you mean models?")


def test_a_misspelt_key_of_a_rule_inside_a_block(tmp_path):
    _fails(
        tmp_path, "backtest.positions.entr=0.8", "backtest.positions.entr: unknown key; did you mean enter? (--params)"
    )


def test_a_misspelt_key_in_a_file_names_the_file(tmp_path, monkeypatch):
    from kedro.config import OmegaConfigLoader

    from agent_market.configured import check_parameters
    from agent_market.errors import ParameterError
    from agent_market.settings import CONFIG_LOADER_ARGS
    from projects import PROJECT

    conf = tmp_path / "conf"
    (conf / "base" / "parameters").mkdir(parents=True)
    (conf / "local").mkdir()
    for file in (PROJECT / "conf/base/parameters").iterdir():
        (conf / "base/parameters" / file.name).write_text(file.read_text())
    (conf / "base" / "globals.yml").write_text((PROJECT / "conf/base/globals.yml").read_text())
    market = conf / "base/parameters/market.yml"
    market.write_text(market.read_text().replace("n_pairs:", "n_pears:"))
    loader = OmegaConfigLoader(str(conf), **CONFIG_LOADER_ARGS)
    with pytest.raises(ParameterError, match=r"market\.n_pears: unknown key; did you mean n_pairs\? \(conf/base/param"):
        check_parameters(loader)


def test_fold_windows_longer_than_the_data(tmp_path):
    _fails(
        tmp_path,
        "folds.train=900d",
        "folds.train",
        "cover 75 days",
        args=("--pipelines", "data_engineering,feature_store"),
        saved={"candles.parquet", "data_quality.parquet", "factors.json", "features", "labels.parquet"}
        | {"funding_rates.parquet", "market_snapshot.json"},
    )


def test_a_factor_without_a_value(tmp_path):
    _fails(
        tmp_path,
        "features.factors.hopeless=log(-$volume)",
        "Error: factor 'hopeless' is NaN on all",
        args=("--pipelines", "data_engineering,feature_store"),
        saved={
            "candles.parquet",
            "data_quality.parquet",
            "factors.json",
            "funding_rates.parquet",
            "market_snapshot.json",
        },
    )


def test_a_constant_label(tmp_path, datadir):
    for file in datadir.iterdir():
        candles = pd.read_feather(file).assign(open=100.0)
        candles["high"] = np.maximum(candles["high"], 100.0)
        candles["low"] = np.minimum(candles["low"], 100.0)
        candles.to_feather(file)
    _fails(
        tmp_path,
        _from(datadir),
        "excess_12 is constant",
        "training.horizon",
        args=("--pipelines", "data_engineering,feature_store,ml_training"),
        saved={"candles.parquet", "data_quality.parquet", "factors.json", "features", "labels.parquet"}
        | {"folds.parquet", "funding_rates.parquet", "market_snapshot.json"},
    )
