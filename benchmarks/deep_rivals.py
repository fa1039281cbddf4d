"""Qlib's sampler and LSTM, as `deep.py` measures them, and the clock that both sides use.

    python deep_rivals.py versions
    python deep_rivals.py load PANEL.parquet LOOKBACK DEVICE BATCH
    python deep_rivals.py fit PANEL.parquet LOOKBACK DEVICE EPOCHS TRAIN VALID WIDTH LAYERS

Runs in the environment that `deep.py` makes, where nothing of agent_market is installed. What is measured is printed as
JSON in the last line. Qlib's code is used as it is, with no workers: with some, they would compete for the same cores.
"""

import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd


def main() -> None:
    name, *arguments = sys.argv[1:]
    print({"versions": versions, "load": load, "fit": fit}[name](*arguments))


def versions() -> str:
    found = [f"python {platform.python_version()}"]
    for package in ("torch", "numpy", "pandas", "pyqlib"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def load(path: str, lookback: str, device: str, batch: str) -> str:
    """One pass of a DataLoader over all windows of Qlib's sampler, in shuffled order."""
    from qlib.data.dataset import TSDataSampler
    from torch.utils.data import DataLoader

    frame = read(path)
    n_rows, size = len(frame), frame["feature"].size * 4
    start, end = frame.index[0][0], frame.index[-1][0]
    before, clock = memory_mb(), Clock(device)
    sampler = TSDataSampler(frame, start, end, int(lookback), fillna_type="ffill+bfill", dtype=np.float32)
    loader = DataLoader(sampler, batch_size=int(batch), shuffle=True, pin_memory=device == "cuda")
    built = clock.spent()
    if len(sampler) != n_rows:
        raise SystemExit(f"Qlib's sampler has {len(sampler)} rows, not {n_rows}")
    spent, n_windows = all_batches(lambda: (x.to(device, non_blocking=True) for x in loader), device)
    held = sum(getattr(sampler, name).nbytes for name in ("data_arr", "idx_map", "idx_arr")) / size
    found = {"rate": n_windows / spent, "built": built, "held": held, "grown_mb": growth_mb(before)}
    return json.dumps(found)


def fit(path: str, lookback: str, device: str, epochs: str, train: str, valid: str, width: str, layers: str) -> str:
    """Labels per second of Qlib's whole LSTM fit, and the correlation of its predictions with the test labels."""
    import torch
    from qlib.contrib.model.pytorch_lstm_ts import LSTM
    from qlib.data.dataset import TSDatasetH
    from qlib.data.dataset.handler import DataHandlerLP

    torch.set_num_threads(1)
    frame = read(path)
    dates = frame.index.levels[0]
    cuts = [0, round(float(train) * len(dates)), round((float(train) + float(valid)) * len(dates)), len(dates)]
    segments = {
        name: (dates[first], dates[last - 1])
        for name, first, last in zip(("train", "valid", "test"), cuts[:-1], cuts[1:], strict=True)
    }
    dataset = TSDatasetH(handler=DataHandlerLP.from_df(frame), segments=segments, step_len=int(lookback))
    model = LSTM(
        d_feat=frame["feature"].shape[1],
        hidden_size=int(width),
        num_layers=int(layers),
        n_epochs=int(epochs),
        batch_size=1024,
        early_stop=int(epochs),
        n_jobs=0,
        GPU=0 if device == "cuda" else -1,
        seed=0,
    )
    clock = Clock(device)
    model.fit(dataset)
    spent = clock.spent()
    n_rows = cuts[1] * len(frame.index.levels[1])
    found = model.predict(dataset)
    label = frame[("label", "label")].reindex(found.index)
    ic = np.corrcoef(found, label)[0, 1]
    return json.dumps({"seconds": spent, "rate": int(epochs) * n_rows / spent, "ic": ic})


def read(path: str) -> pd.DataFrame:
    """The panel as Qlib wants it: rows (datetime, instrument), columns (feature, name) and (label, label)."""
    panel = pd.read_parquet(path)
    dates = panel["date"].dt.tz_localize(None)
    index = pd.MultiIndex.from_arrays([dates, panel["pair"].astype(str)], names=["datetime", "instrument"])
    panel = panel.drop(columns=["pair", "date"]).astype(np.float32).set_index(index)
    groups = ["label" if name == "label" else "feature" for name in panel]
    panel.columns = pd.MultiIndex.from_arrays([groups, panel.columns])
    return panel.sort_index()


# ---- what both sides measure with


class Clock:
    """CPU seconds of this process, or wall seconds with all work of a GPU done."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.start = self._now()

    def spent(self) -> float:
        return self._now() - self.start

    def _now(self) -> float:
        if self.device == "cpu":
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()


def all_batches(passes: Callable[[], Iterable], device: str) -> tuple[float, int]:
    """Seconds of the fastest of three passes over all windows, and the windows in one."""
    seconds = []
    for _ in range(3):
        clock = Clock(device)
        n_windows = sum(len(batch) for batch in passes())
        seconds.append(clock.spent())
    return min(seconds), n_windows


def memory_mb(kind: str = "VmRSS") -> float:
    """Memory of this process now, from where a new peak is looked for; or with VmHWM the peak since then."""
    if kind == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(kind)) / 1024


def growth_mb(before: float) -> float:
    """How far the peak lies above `before`."""
    return memory_mb("VmHWM") - before


if __name__ == "__main__":
    main()
