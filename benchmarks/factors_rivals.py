"""Alpha158 by pyqlib, pandas and polars, as `factors.py` measures them: one panel, one engine, one process.

    python factors_rivals.py {qlib|pandas|polars} PANEL.parquet DEFINITIONS.json FREQUENCY RESULT.json [FEATURES]

Runs in the environment that `factors.py` makes, where nothing of agent_market is installed. DEFINITIONS are {name:
expression of Qlib}. The time is that of the features alone: candles are on Qlib's own disk format, or in memory.
"""

import json
import re
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

FIELDS = ("open", "high", "low", "close", "vwap", "volume")


def main() -> None:
    engine, panel, definitions, frequency, result, *features = sys.argv[1:]
    bars = pd.read_parquet(panel)
    definitions = json.loads(Path(definitions).read_text(encoding="utf-8"))
    compute = {"qlib": by_qlib, "pandas": by_pandas, "polars": by_polars}[engine](bars, definitions, frequency)
    before = peak_mb()
    wall, cpu = time.perf_counter(), cpu_seconds()
    table = compute()
    measured = {"wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}
    measured |= {"peak_mb": peak_mb(), "before_mb": before}
    measured["shape"] = list(table.shape)
    Path(result).write_text(json.dumps(measured), encoding="utf-8")
    if features:
        table.to_parquet(features[0])


def peak_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def cpu_seconds() -> float:
    """User and system time of this process and of the children it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


# ---- pyqlib


def by_qlib(bars: pd.DataFrame, definitions: dict[str, str], frequency: str):
    import qlib
    from qlib.data import D

    folder = Path(tempfile.mkdtemp(prefix="qlib-"))
    write_bins(bars, folder, frequency)
    qlib.init(
        provider_uri={frequency: str(folder)}, kernels=1, expression_cache=None, dataset_cache=None, logging_level=30
    )

    def compute() -> pd.DataFrame:
        table = D.features(D.instruments("all"), list(definitions.values()), freq=frequency)
        return table.set_axis(list(definitions), axis=1)

    return compute


def write_bins(bars: pd.DataFrame, folder: Path, frequency: str) -> None:
    """Qlib's own format: float32 per instrument and field, the first number is the place in the calendar."""
    dates = np.sort(bars["date"].unique())
    form = "%Y-%m-%d" if frequency == "day" else "%Y-%m-%d %H:%M:%S"
    text = pd.DatetimeIndex(dates).strftime(form)
    (folder / "calendars").mkdir()
    (folder / "calendars" / f"{frequency}.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    lines = []
    for pair, rows in bars.groupby("pair", observed=True):
        place = np.searchsorted(dates, rows["date"])
        lines.append(f"{pair}\t{text[place[0]]}\t{text[place[-1]]}")
        home = folder / "features" / str(pair).lower()
        home.mkdir(parents=True)
        for field in FIELDS:
            values = np.full(place[-1] - place[0] + 2, np.nan, dtype="<f4")
            values[0] = place[0]
            values[1 + place - place[0]] = rows[field]
            values.tofile(home / f"{field}.{frequency}.bin")
    (folder / "instruments").mkdir()
    (folder / "instruments" / "all.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


# ---- pandas and polars: Qlib's functions over values that know how they came about, so that equal ones are shared


class Shared:
    """A value and its key; each operation on equal keys is done once."""

    def __init__(self, key: str, value, memo: dict) -> None:
        self.key, self.value, self.memo = key, value, memo

    def do(self, name: str, function, *others) -> "Shared":
        key = f"{name}({self.key},{','.join(str(getattr(o, 'key', o)) for o in others)})"
        if key not in self.memo:
            self.memo[key] = function(self.value, *(getattr(other, "value", other) for other in others))
        return Shared(key, self.memo[key], self.memo)

    def __add__(self, other):
        return self.do("+", lambda x, y: x + y, other)

    def __sub__(self, other):
        return self.do("-", lambda x, y: x - y, other)

    def __mul__(self, other):
        return self.do("*", lambda x, y: x * y, other)

    def __rmul__(self, other):
        return self * other

    def __truediv__(self, other):
        return self.do("/", lambda x, y: x / y, other)


def apply(name: str, function, x: Shared, *others) -> Shared:
    return x.do(name, function, *others)


def evaluate(definitions: dict[str, str], functions: dict, fields: dict) -> dict:
    memo: dict = {}
    names = {f"_{name}": Shared(name, value, memo) for name, value in fields.items()}
    names |= {name: partial(apply, name, function) for name, function in functions.items()}
    return {
        name: eval(re.sub(r"\$", "_", text), {"__builtins__": {}}, names).value  # our own file of definitions
        for name, text in definitions.items()
    }


def by_pandas(bars: pd.DataFrame, definitions: dict[str, str], frequency: str):
    def line(x: pd.Series, n: int, what: str) -> pd.Series:
        time_ = pd.Series(np.arange(len(x), dtype=float), x.index)
        roll = x.rolling(n, min_periods=1)
        slope = roll.cov(time_) / time_.rolling(n, min_periods=1).var()
        if what == "slope":
            return slope
        return roll.corr(time_) ** 2 if what == "r2" else x - roll.mean() - slope * (n - 1) / 2

    functions = {
        "Ref": lambda x, n: x.shift(n),
        "Mean": lambda x, n: x.rolling(n, min_periods=1).mean(),
        "Sum": lambda x, n: x.rolling(n, min_periods=1).sum(),
        "Std": lambda x, n: x.rolling(n, min_periods=1).std(),
        "Max": lambda x, n: x.rolling(n, min_periods=1).max(),
        "Min": lambda x, n: x.rolling(n, min_periods=1).min(),
        "IdxMax": lambda x, n: x.rolling(n, min_periods=1).apply(lambda w: w.argmax() + 1, raw=True),
        "IdxMin": lambda x, n: x.rolling(n, min_periods=1).apply(lambda w: w.argmin() + 1, raw=True),
        "Quantile": lambda x, n, q: x.rolling(n, min_periods=1).quantile(q),
        "Rank": lambda x, n: x.rolling(n, min_periods=1).rank(pct=True),
        "Corr": lambda x, y, n: x.rolling(n, min_periods=1).corr(y),
        "Slope": lambda x, n: line(x, n, "slope"),
        "Rsquare": lambda x, n: line(x, n, "r2"),
        "Resi": lambda x, n: line(x, n, "resi"),
        "Gt": lambda x, y: x > y,
        "Lt": lambda x, y: x < y,
        "Greater": np.maximum,
        "Less": np.minimum,
        "Abs": np.abs,
        "Log": np.log,
    }

    def compute() -> pd.DataFrame:
        parts = []
        with np.errstate(all="ignore"):
            for _, rows in bars.groupby("pair", observed=True):
                fields = {field: rows[field].astype(np.float32) for field in FIELDS}
                parts.append(pd.DataFrame(evaluate(definitions, functions, fields), dtype=np.float32))
        return pd.concat(parts)

    return compute


def by_polars(bars: pd.DataFrame, definitions: dict[str, str], frequency: str):
    import polars as pl

    frame = pl.from_pandas(bars).with_columns(pl.col(FIELDS).fill_nan(None), pl.col("pair").cast(pl.String))

    def line(x, n: int, what: str):
        time_ = pl.int_range(pl.len()).cast(pl.Float64).over("pair")
        time_ = pl.when(x.is_not_null()).then(time_)
        how = {"window_size": n, "min_samples": 1}
        mean_x, mean_t = x.rolling_mean(**how), time_.rolling_mean(**how)
        cov = (x * time_).rolling_mean(**how) - mean_x * mean_t
        var = (time_ * time_).rolling_mean(**how) - mean_t * mean_t
        if what == "slope":
            return (cov / var).over("pair")
        if what == "resi":
            return (x - mean_x - cov / var * (time_ - mean_t)).over("pair")
        return (cov * cov / var / x.rolling_var(**how, ddof=0)).over("pair")

    def place(function: str):
        """polars has no rolling argmax: bottleneck's."""
        import bottleneck

        move = getattr(bottleneck, function)

        def of_window(x, n: int):
            def values(series: pl.Series) -> pl.Series:
                return pl.Series(n - move(series.to_numpy(), n, min_count=1))

            return x.map_batches(values, return_dtype=pl.Float64).over("pair")

        return of_window

    def rolled(method: str):
        return lambda x, n: getattr(x, method)(window_size=n, min_samples=1).over("pair")

    functions = {
        "Ref": lambda x, n: x.shift(n).over("pair"),
        "Mean": lambda x, n: x.cast(pl.Float64).rolling_mean(window_size=n, min_samples=1).over("pair"),
        "Sum": rolled("rolling_sum"),
        "Std": rolled("rolling_std"),
        "Max": rolled("rolling_max"),
        "Min": rolled("rolling_min"),
        "IdxMax": place("move_argmax"),
        "IdxMin": place("move_argmin"),
        "Quantile": lambda x, n, q: x.rolling_quantile(q, interpolation="linear", window_size=n, min_samples=1).over(
            "pair"
        ),
        "Rank": lambda x, n: x.rolling_rank(window_size=n, method="average", min_samples=1).over("pair") / n,
        "Corr": lambda x, y, n: pl.rolling_corr(x, y, window_size=n, min_samples=1).over("pair"),
        "Slope": lambda x, n: line(x, n, "slope"),
        "Rsquare": lambda x, n: line(x, n, "r2"),
        "Resi": lambda x, n: line(x, n, "resi"),
        "Gt": lambda x, y: x > y,
        "Lt": lambda x, y: x < y,
        "Greater": lambda x, y: pl.max_horizontal(x, y),
        "Less": lambda x, y: pl.min_horizontal(x, y),
        "Abs": lambda x: x.abs(),
        "Log": lambda x: x.log(),
    }
    expressions = evaluate(definitions, functions, {field: pl.col(field) for field in FIELDS})

    def compute():
        return frame.lazy().select(**{name: e.cast(pl.Float32) for name, e in expressions.items()}).collect()

    return compute


if __name__ == "__main__":
    main()
