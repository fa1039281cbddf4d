import gzip
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agent_market.errors import DataError, ParameterError
from agent_market.market import MarketOptions, read_datadir

COLUMNS = ["date", "open", "high", "low", "close", "volume"]
EXTENSIONS = ["feather", "parquet", "json", "json.gz"]


def candles(n_candles: int = 30, timeframe: str = "1h") -> pd.DataFrame:
    """Candles as freqtrade keeps them in memory."""
    close = 100 + np.random.default_rng(0).normal(size=n_candles).cumsum().round(2)
    return pd.DataFrame(
        {
            "date": pd.date_range("2024-01-01", periods=n_candles, freq=timeframe, tz="UTC", unit="ms"),
            "open": close - 0.25,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": np.arange(n_candles) + 0.5,
        }
    )


def write(frame: pd.DataFrame, path: Path) -> None:
    """Write a file as freqtrade's handlers do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".feather":
        frame.to_feather(path, compression="lz4", compression_level=9)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        rows = frame.assign(date=frame["date"].astype("int64"))
        rows.to_json(path, orient="values", compression="gzip" if path.suffix == ".gz" else None)


def options(datadir: Path, **values) -> MarketOptions:
    return MarketOptions(source="freqtrade_datadir", datadir=str(datadir), **values)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_each_format_gives_back_what_was_written(tmp_path, extension):
    write(candles(), tmp_path / f"BTC_USDT-1h.{extension}")
    read = read_datadir(options(tmp_path))
    assert read["date"].dtype == "datetime64[ms, UTC]"
    assert read["pair"].unique().tolist() == ["BTC/USDT"]
    pd.testing.assert_frame_equal(read[COLUMNS], candles(), check_exact=True)


@pytest.mark.parametrize(
    ("name", "extension"),
    [("feather", "feather"), ("parquet", "parquet"), ("json", "json"), ("jsongz", "json.gz")],
)
def test_files_that_freqtrade_itself_wrote_are_read(tmp_path, name, extension):
    from freqtrade.data.history.datahandlers import get_datahandler
    from freqtrade.enums import CandleType

    handler = get_datahandler(tmp_path, name)
    handler.ohlcv_store("ETH/USDT", "1h", candles(), CandleType.SPOT)
    (tmp_path / "futures").mkdir()
    handler.ohlcv_store("ETH/USDT:USDT", "1h", candles(), CandleType.FUTURES)
    assert (tmp_path / f"ETH_USDT-1h.{extension}").exists()
    pd.testing.assert_frame_equal(read_datadir(options(tmp_path))[COLUMNS], candles())
    futures = read_datadir(options(tmp_path, trading_mode="futures"))
    assert futures["pair"].unique().tolist() == ["ETH/USDT:USDT"]


@pytest.mark.parametrize(("mode", "pair"), [("spot", "BTC/USDT"), ("spot", "BNB/USDT"), ("futures", "ETH/USDT:USDT")])
def test_real_files_are_read_as_freqtrade_reads_them(shared_dir, mode, pair):
    from freqtrade.data.history.datahandlers import get_datahandler
    from freqtrade.enums import CandleType

    datadir = shared_dir / "market" / "binance"
    kind = CandleType.SPOT if mode == "spot" else CandleType.FUTURES
    theirs = get_datahandler(datadir, "feather").ohlcv_load(pair, "1h", kind, fill_missing=False)
    ours = read_datadir(options(datadir, trading_mode=mode, pairs=pair))
    pd.testing.assert_frame_equal(ours[COLUMNS], theirs[COLUMNS], check_exact=True)


def test_no_pairs_means_all_pairs_of_the_timeframe_and_mode(tmp_path):
    for name in ["ETH_USDT-1h", "BTC_USDT-1h", "BTC_USDT-5m", "BTC_USDT-trades", "notes"]:
        write(candles(), tmp_path / f"{name}.feather")
    for kind in ["futures", "mark", "funding_rate"]:
        write(candles(), tmp_path / "futures" / f"SOL_USDT_USDT-1h-{kind}.feather")
    assert read_datadir(options(tmp_path))["pair"].cat.categories.tolist() == ["BTC/USDT", "ETH/USDT"]
    futures = read_datadir(options(tmp_path, trading_mode="futures"))
    assert futures["pair"].cat.categories.tolist() == ["SOL/USDT:USDT"]
    assert len(futures) == 30
    assert len(read_datadir(options(tmp_path, pairs="ETH/USDT"))) == 30


def test_reading_leaves_files_as_they_are(tmp_path):
    for extension in EXTENSIONS:
        write(candles(), tmp_path / extension / f"BTC_USDT-1h.{extension}")
    files = sorted(tmp_path.rglob("*.*"))
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in files if path.is_file()}
    for extension in EXTENSIONS:
        read_datadir(options(tmp_path / extension))
    after = {path: hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert before == after


def test_rows_stay_in_the_order_of_the_file_and_extra_columns_are_left(tmp_path):
    shuffled = candles().sample(frac=1, random_state=1).reset_index(drop=True)
    write(shuffled.assign(trades=3), tmp_path / "BTC_USDT-1h.feather")
    pd.testing.assert_frame_equal(read_datadir(options(tmp_path))[COLUMNS], shuffled)


@pytest.mark.parametrize(
    "date",
    [
        lambda date: date.dt.tz_localize(None),
        lambda date: date.dt.tz_convert("America/New_York"),
        lambda date: date.dt.as_unit("ns"),
        lambda date: date.astype("int64"),
        lambda date: date.astype("str"),
    ],
    ids=["naive", "other zone", "nanoseconds", "milliseconds", "text"],
)
def test_dates_in_any_usual_form_become_utc_milliseconds(tmp_path, date):
    frame = candles()
    write(frame.assign(date=date(frame["date"])), tmp_path / "BTC_USDT-1h.feather")
    pd.testing.assert_series_equal(read_datadir(options(tmp_path))["date"], frame["date"])


def test_integers_and_numbers_written_as_text_are_numbers(tmp_path):
    frame = candles().assign(volume=7, close=lambda frame: frame["close"].astype("str"))
    write(frame, tmp_path / "BTC_USDT-1h.feather")
    read = read_datadir(options(tmp_path))
    np.testing.assert_array_equal(read["close"], candles()["close"])
    assert read["volume"].dtype == "float64"


def test_a_missing_datadir_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"market.datadir .*nowhere does not exist"):
        read_datadir(options(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        read_datadir(options(tmp_path / "file"))


def test_a_missing_timeframe_lists_those_that_are_there(tmp_path):
    for name in ["BTC_USDT-1h.feather", "ETH_USDT-1h.feather", "BTC_USDT-1d.json"]:
        write(candles(), tmp_path / name)
    with pytest.raises(DataError, match=r"no 5m spot candles.*1d \(1 x json\), 1h \(2 x feather\).*market.timeframe"):
        read_datadir(options(tmp_path, timeframe="5m"))


def test_the_other_trading_mode_or_the_folder_below_is_pointed_at(tmp_path):
    write(candles(), tmp_path / "binance" / "futures" / "BTC_USDT_USDT-1h-futures.feather")
    with pytest.raises(DataError, match=r"set market.trading_mode=futures"):
        read_datadir(options(tmp_path / "binance"))
    write(candles(), tmp_path / "kraken" / "BTC_USDT-1h.feather")
    with pytest.raises(DataError, match=r"folders kraken have candles: set market.datadir"):
        read_datadir(options(tmp_path))
    with pytest.raises(DataError, match=r"set market.trading_mode=spot"):
        read_datadir(options(tmp_path / "kraken", trading_mode="futures"))


def test_csv_files_are_not_read_and_the_way_to_convert_them_works(tmp_path):
    candles().to_csv(tmp_path / "BTC_USDT-1h.csv", index=False)
    with pytest.raises(DataError, match=r"CSV.*feather, parquet, json.*to_feather\(\"BTC_USDT-1h.feather\"\)"):
        read_datadir(options(tmp_path))
    frame = pd.read_csv(tmp_path / "BTC_USDT-1h.csv", parse_dates=["date"])
    frame.to_feather(tmp_path / "BTC_USDT-1h.feather")
    pd.testing.assert_frame_equal(read_datadir(options(tmp_path))[COLUMNS], candles())


def test_an_empty_folder_says_what_was_expected(tmp_path):
    with pytest.raises(DataError, match=r"expected files such as BTC_USDT-1h.feather.*download-data"):
        read_datadir(options(tmp_path))


def test_an_absent_pair_is_refused_with_the_nearest_name(tmp_path):
    for pair in ["BTC_USDT", "ETH_USDT"]:
        write(candles(), tmp_path / f"{pair}-1h.feather")
    with pytest.raises(ParameterError, match=r"market.pairs.*'BTCUSDT'.*did you mean BTC/USDT"):
        read_datadir(options(tmp_path, pairs="ETH/USDT BTCUSDT"))
    with pytest.raises(ParameterError, match=r"it has BTC/USDT, ETH/USDT"):
        read_datadir(options(tmp_path, pairs="XYZ"))


def test_the_same_pair_in_two_formats_is_refused(tmp_path):
    for extension in ["feather", "json"]:
        write(candles(), tmp_path / f"BTC_USDT-1h.{extension}")
    with pytest.raises(DataError, match=r"BTC/USDT.*BTC_USDT-1h.feather and BTC_USDT-1h.json"):
        read_datadir(options(tmp_path))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_an_empty_file_and_a_file_without_rows_are_refused(tmp_path, extension):
    path = tmp_path / f"BTC_USDT-1h.{extension}"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"{path} is empty"):
        read_datadir(options(tmp_path))
    write(candles().iloc[:0], path)
    with pytest.raises(DataError, match=rf"{path} holds no candles"):
        read_datadir(options(tmp_path))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_truncated_file_is_refused(tmp_path, extension):
    path = tmp_path / f"BTC_USDT-1h.{extension}"
    write(candles(3000), path)
    whole = path.read_bytes()
    for size in [len(whole) // 2, len(whole) - 9, 7]:
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=rf"{path} cannot be read as {extension}.*truncated"):
            read_datadir(options(tmp_path))


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_a_file_of_something_else_is_refused(tmp_path, extension):
    path = tmp_path / f"BTC_USDT-1h.{extension}"
    path.write_bytes(b"date,open,high,low,close,volume\n2024-01-01,1,2,3,4,5\n")
    with pytest.raises(DataError, match=rf"{path} cannot be read as {extension}"):
        read_datadir(options(tmp_path))


def test_missing_columns_are_named_with_those_found(tmp_path):
    path = tmp_path / "BTC_USDT-1h.parquet"
    write(candles().drop(columns=["open", "volume"]), path)
    with pytest.raises(DataError, match=rf"{path} has no column open, volume; it has date, high, low, close"):
        read_datadir(options(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"date": 1}', "expected a list of rows"),
        ("[1, 2, 3]", "expected a list of rows"),
        ("[[1704067200000, 1, 2, 0.5, 1, 9], [1704070800000, 1, 2]]", "row 1 has 3 values, expected 6"),
    ],
)
def test_json_in_the_wrong_shape_is_refused(tmp_path, content, message):
    (tmp_path / "BTC_USDT-1h.json").write_text(content)
    with pytest.raises(DataError, match=message):
        read_datadir(options(tmp_path))


def test_json_null_is_a_missing_value_for_the_cleaning_to_count(tmp_path):
    rows = [[1704067200000, 1, 2, 0.5, 1, 9], [1704070800000, None, 2, 0.5, 1, 9]]
    (tmp_path / "BTC_USDT-1h.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert read_datadir(options(tmp_path))["open"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("close", lambda values: values.astype("str").replace(values.astype("str")[4], "n/a"), r"row 4 is 'n/a'"),
        ("high", lambda values: values > 0, "column high is not numeric"),
        ("volume", lambda values: pd.Timestamp("2024-01-01") + pd.to_timedelta(values, "s"), "not numeric"),
        ("date", lambda values: values.astype("str").where(values.index != 5, "soon"), r"date.*row 5 is 'soon'"),
        ("date", lambda values: values.where(values.index != 6), r"date.*row 6 is NaT"),
        ("date", lambda values: values.astype("int64") // 1000, r"date reaches.*seconds must be multiplied"),
        ("date", lambda values: values.astype("int64") * 1000, r"date reaches.*expected milliseconds"),
    ],
)
def test_a_column_of_the_wrong_kind_is_refused_by_name(tmp_path, column, values, message):
    path = tmp_path / "BTC_USDT-1h.feather"
    frame = candles()
    write(frame.assign(**{column: values(frame[column])}), path)
    with pytest.raises(DataError, match=rf"(?s){path}.*{column}.*") as caught:
        read_datadir(options(tmp_path))
    assert pd.Series([str(caught.value)]).str.contains(message).all(), str(caught.value)
