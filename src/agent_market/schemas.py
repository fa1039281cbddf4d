"""The tables that cross pipelines: their columns, types and order, checked by the catalog at each save and load."""

import pandas as pd
import pandera.pandas as pa
from pandera.typing.pandas import Series

UTC = {"unit": "ms", "tz": "UTC"}


class _Panel(pa.DataFrameModel):
    """One row per pair and candle."""

    pair: Series[pd.CategoricalDtype]
    date: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC, description="open time of the candle")

    @pa.dataframe_check(name="rows are sorted by pair and date, and unique")
    def _sorted_and_unique(cls, table: pd.DataFrame) -> bool:  # noqa: N805 - pandera's way
        code, date = table["pair"].cat.codes.to_numpy(), table["date"].to_numpy()
        later_pair = code[1:] > code[:-1]
        later_date = (code[1:] == code[:-1]) & (date[1:] > date[:-1])
        return bool((later_pair | later_date).all())


class Candles(_Panel):
    """Clean candles; `filled` marks those that stand in for missing ones."""

    open: Series[float] = pa.Field(gt=0)
    high: Series[float] = pa.Field(gt=0)
    low: Series[float] = pa.Field(gt=0)
    close: Series[float] = pa.Field(gt=0)
    volume: Series[float] = pa.Field(ge=0)
    filled: Series[bool]

    @pa.dataframe_check(name="low <= open, close <= high")
    def _inside_range(cls, table: pd.DataFrame) -> Series[bool]:  # noqa: N805
        body = table[["open", "close"]]
        return (table["low"] <= body.min(axis=1)) & (body.max(axis=1) <= table["high"])


class FundingRates(_Panel):
    """What longs pay to shorts at `date`, as a fraction of the position's worth at `mark_price`; none for spot."""

    funding_rate: Series[float]
    mark_price: Series[float] = pa.Field(gt=0)


class Features(_Panel):
    """One float32 column per factor, beside the keys."""

    @pa.dataframe_check(name="factors are float32")
    def _float32(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        return bool((table.dtypes.drop(["pair", "date"]) == "float32").all())


class Labels(_Panel):
    """`return_<h>`, `excess_<h>`, `up_<h>`, `label_end_<h>` and what else `labels.kinds` asks for, of each horizon."""

    @pa.dataframe_check(name="a label is known after its candle")
    def _known_later(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        ends = table.filter(like="label_end_")
        return bool((ends.isna() | ends.gt(table["date"], axis=0)).all(axis=None))


class Folds(pa.DataFrameModel):
    """Half-open windows in order of time: train, valid, test; test windows do not overlap."""

    fold: Series[int] = pa.Field(unique=True, ge=0)
    train_start: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    train_end: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    valid_start: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    valid_end: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    test_start: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    test_end: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)

    @pa.dataframe_check(name="windows follow one another in time")
    def _in_order(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        edges = table.drop(columns="fold")
        inside = all((edges.iloc[:, i] <= edges.iloc[:, i + 1]).all() for i in range(edges.shape[1] - 1))
        return inside and bool((table["test_end"][:-1].array <= table["test_start"][1:].array).all())


class Predictions(_Panel):
    """Out-of-sample predictions of one model; of an ensemble of seeds, also what each of them says."""

    fold: Series[int] = pa.Field(ge=0)
    prediction: Series[float]
    prediction_seed: Series[float] | None = pa.Field(alias=r"^prediction_seed\d+$", regex=True)
    kind: Series[str] = pa.Field(isin=["return", "probability", "position", "score"])


class ValidationPredictions(pa.DataFrameModel):
    """Predictions of each fold's validation window by that fold's model; windows of two folds may overlap."""

    pair: Series[pd.CategoricalDtype]
    date: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    fold: Series[int] = pa.Field(ge=0)
    prediction: Series[float]
    kind: Series[str] = pa.Field(isin=["return", "probability", "position", "score"])

    @pa.dataframe_check(name="rows are unique")
    def _unique(cls, table: pd.DataFrame) -> bool:  # noqa: N805
        return not table.duplicated(["fold", "pair", "date"]).any()


class Positions(pa.DataFrameModel):
    """Target positions of all models, decided at the close of `date`."""

    model: Series[str]
    pair: Series[pd.CategoricalDtype]
    date: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    position: Series[float] = pa.Field(ge=-1, le=1)


class Trades(pa.DataFrameModel):
    """Closed trades of all models, in freqtrade's columns."""

    model: Series[str]
    pair: Series[str] = pa.Field(coerce=True)
    open_date: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    close_date: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    open_rate: Series[float] = pa.Field(gt=0)
    close_rate: Series[float] = pa.Field(gt=0)
    amount: Series[float] = pa.Field(gt=0)
    stake_amount: Series[float] = pa.Field(gt=0)
    profit_abs: Series[float]
    profit_ratio: Series[float]
    is_short: Series[bool]


class Equity(pa.DataFrameModel):
    """Value of each model's account at the close of every candle, in the stake currency."""

    model: Series[str]
    date: Series[pd.DatetimeTZDtype] = pa.Field(dtype_kwargs=UTC)
    equity: Series[float]
    exposure: Series[float]
    n_open: Series[int] = pa.Field(ge=0)
