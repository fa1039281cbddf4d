"""Windows, memory and a whole LSTM fit beside a naive DataLoader and Qlib: samples/s, megabytes, labels/s.

    python benchmarks/deep.py                  # all: about eight minutes, the first time some more for the set-up
    python benchmarks/deep.py --parts loader   # or memory, fit, wait
    python benchmarks/deep.py --device cuda    # the same with the device's copies and networks

Panel: 4 pairs x 15,000 candles x 50 features, batches of 1,024 windows in shuffled order. Each measurement runs in a
process of its own with one thread; Qlib's in the environment that `factors.py` makes, with torch put into it. On a
processor CPU seconds are the measure, since other work on the machine changes wall time far more; on a GPU it is wall
time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from deep_rivals import Clock, all_batches, growth_mb, memory_mb

from factors import ENVIRONMENT, set_up

N_PAIRS, N_BARS, N_FEATURES, BATCH = 4, 15_000, 50, 1_024
SMALL = 16  # windows in a batch where memory is measured, so that it is not the batches' own
TRAIN, VALID = 0.6, 0.15  # shares of the candles; the rest is for the test
WIDTH, LAYERS = 64, 1
PERSISTENCE, NOISE, STRENGTH = 0.9, 2.0, 0.141  # of the hidden state, of its sight, and its weight in the label
RIVALS = Path(__file__).with_name("deep_rivals.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--epochs", type=int, default=3, help="of the whole fits")
    parser.add_argument("--repeats", type=int, default=3, help="of the loaders; the fastest counts")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        print(json.dumps(SIDES[chosen.side](*json.loads(sys.stdin.read()))))
        return
    python = set_up_torch() if set(chosen.parts) - {"wait"} else sys.executable
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, device {chosen.device}")
    for name, interpreter in (("ours", sys.executable), ("Qlib's", python)):
        print(f"{name}: {run(interpreter, RIVALS, 'versions')}")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "panel.parquet")
        make_panel().to_parquet(path)
        for part in chosen.parts:
            print(flush=True)
            PARTS[part](path, python, chosen)


def set_up_torch() -> str:
    """The Python of the rivals' environment, with the torch that we have."""
    python, marker = set_up(), ENVIRONMENT / "torch"
    if not marker.exists():
        release = version("torch").partition("+")[0]
        subprocess.run([python, "-m", "pip", "install", "-q", f"torch=={release}"], check=True)
        marker.touch()
    return python


def make_panel() -> pd.DataFrame:
    """Standard normal features; the first one shows, through noise, an AR(1) that is a small part of the label."""
    rng = np.random.default_rng(0)
    dates = pd.date_range("2022-01-01", periods=N_BARS, freq="h", tz="UTC").as_unit("ms")
    tables = []
    for pair in range(N_PAIRS):
        X, shocks = rng.standard_normal((N_BARS, N_FEATURES)), rng.standard_normal(N_BARS)
        state = np.empty(N_BARS)
        state[0] = shocks[0]
        for row in range(1, N_BARS):
            state[row] = PERSISTENCE * state[row - 1] + np.sqrt(1 - PERSISTENCE**2) * shocks[row]
        X[:, 0] = (state + NOISE * X[:, 0]) / np.sqrt(1 + NOISE**2)
        label = STRENGTH * state + np.sqrt(1 - STRENGTH**2) * rng.standard_normal(N_BARS)
        table = pd.DataFrame(X.astype(np.float32), columns=[f"f{number:02d}" for number in range(N_FEATURES)])
        table.insert(0, "date", dates)
        table.insert(0, "pair", f"P{pair}")
        tables.append(table.assign(label=label))
    return pd.concat(tables, ignore_index=True).astype({"pair": "category"})


# ---- our side, in processes of its own


def read_samples(path: str, first: float = 0.0, last: float = 1.0):
    """Samples of the candles between two shares of the calendar, over the tensor of all."""
    from agent_market.learning.samples import FeatureTensor, Samples

    panel = pd.read_parquet(path)
    tensor = FeatureTensor.from_frame(panel.drop(columns="label"), timeframe="1h")
    bar = np.tile(np.arange(N_BARS), N_PAIRS)
    rows = np.flatnonzero((bar >= first * N_BARS) & (bar < last * N_BARS))
    return Samples(tensor, rows, panel["label"].to_numpy()[rows, None])


def load_ours(path: str, lookback: int, device: str, batch: int) -> dict:
    """One pass over all rows in shuffled order."""
    import torch

    from agent_market.adapters.torch.windows import PanelWindows

    samples = read_samples(path)
    samples.X.sum()  # touched: what comes on top is the loader's own
    before, start = memory_mb(), Clock(device)
    windows = PanelWindows(samples, lookback, device)
    room = windows.room(batch)
    built = start.spent()
    held = windows.nbytes / samples.tensor.values.nbytes

    def passes():
        order = windows.rows[torch.randperm(len(windows), device=device)]
        for rows in order.split(batch):
            yield windows.take(rows, room)["x"]

    spent, n_rows = all_batches(passes, device)
    return {"rate": n_rows / spent, "built": built, "held": held, "grown_mb": growth_mb(before)}


def load_materialised(path: str, lookback: int, device: str, batch: int) -> dict:
    """Every window stored beforehand, a TensorDataset and a DataLoader."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    samples = read_samples(path)
    samples.X.sum()
    before, start = memory_mb(), Clock(device)
    windows = samples.windows(lookback)
    whole = np.flatnonzero(windows.complete)
    dataset = TensorDataset(torch.from_numpy(windows[whole]), torch.from_numpy(samples.y[whole].astype(np.float32)))
    loader = DataLoader(dataset, batch_size=batch, shuffle=True, pin_memory=device == "cuda")
    built = start.spent()
    spent, n_rows = all_batches(lambda: (x.to(device, non_blocking=True) for x, _ in loader), device)
    held = dataset.tensors[0].nbytes / samples.tensor.values.nbytes
    return {"rate": n_rows / spent, "built": built, "held": held, "grown_mb": growth_mb(before)}


def fit_ours(path: str, lookback: int, device: str, epochs: int, training: str) -> dict:
    """Labels per second of a whole fit, validation and set-up included, and the IC on the test rows."""
    from agent_market.adapters import get_adapter, parse_model_options

    train = read_samples(path, 0.0, TRAIN)
    valid, test = (read_samples(path, *span) for span in ((TRAIN, TRAIN + VALID), (TRAIN + VALID, 1.0)))
    options = parse_model_options(
        {"adapter": "torch", "network": "lstm", "lookback": lookback, "hidden": WIDTH, "layers": LAYERS}
        | {"training": training, "epochs": epochs, "patience": 0, "seeds": 1, "device": device}
    )
    adapter = get_adapter("torch")
    adapter.fit(read_samples(path, 0.0, 0.01), None, options, report=lambda progress: None)  # libraries are loaded
    start = Clock(device)
    model = adapter.fit(train, valid, options, report=lambda progress: None)
    spent = start.spent()
    predicted = np.asarray(adapter.predict(model, test)).reshape(len(test), -1)[:, 0]
    return {"seconds": spent, "rate": epochs * len(train) / spent, "ic": np.corrcoef(predicted, test.y[:, 0])[0, 1]}


def wait_ours(path: str, lookback: int, device: str, network: str, training: str) -> dict:
    """Share of a training step's time that goes to data: steps with new batches against steps with one and the same."""
    import torch

    from agent_market.adapters import parse_model_options
    from agent_market.adapters.torch.networks import build_network
    from agent_market.adapters.torch.windows import PanelWindows

    options = parse_model_options(
        {"adapter": "torch", "network": network, "lookback": lookback, "training": training, "device": device}
    )
    samples = read_samples(path)
    windows = PanelWindows(samples, lookback, device)
    net = build_network(options, N_FEATURES, 1).to(device)
    optimiser = torch.optim.AdamW(net.parameters())
    length = options.chunk if training == "chunked" else 1
    spans = windows.spans(windows.rows, length)
    per_step = max(BATCH // length, 1)
    room = windows.room(per_step, length)

    def batches():
        for index in torch.randperm(len(spans), device=device).split(per_step):
            yield windows.chunks(spans.first[index], spans.stop[index], length, room)

    def steps(source) -> float:
        start, n_labels = Clock(device), 0
        for batch in source:
            error = (net(batch["x"]) - batch["y"]).nan_to_num().square()
            loss = error.sum() / batch["weight"].sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            n_labels += batch["y"].shape[0] * length
        return start.spent() / n_labels

    one = next(iter(batches()))
    n_steps = 40 if device == "cpu" else 400

    def some(source):
        return (batch for batch, _ in zip(source, range(n_steps), strict=False))

    steps(some(batches()))
    fresh = min(steps(some(batches())) for _ in range(3))
    same = min(steps(one for _ in range(min(n_steps, -(-len(spans) // per_step)))) for _ in range(3))
    return {"rate": 1 / fresh, "share": max(1 - same / fresh, 0.0)}


SIDES = {"ours": load_ours, "materialised": load_materialised, "fit": fit_ours, "wait": wait_ours}


# ---- the tables


def show_loaders(path: str, python: str, chosen: argparse.Namespace) -> None:
    print(f"Windows per second (of {seconds_of(chosen.device)}), batches of {BATCH}; best of {chosen.repeats}")
    print(f"{'':26s}{'24 candles':>12s}{'64 candles':>12s}")
    ours = None
    for name in ("ours", "materialised", "qlib"):
        rates = [load(path, python, name, lookback, chosen, BATCH)["rate"] for lookback in (24, 64)]
        ours = ours or rates
        ratios = " and ".join(f"{mine / rate:.1f} x" for mine, rate in zip(ours, rates, strict=True))
        line = "".join(f"{rate:12,.0f}" for rate in rates)
        print(f"{NAMES[name]:26s}{line}" + (f"   ours is {ratios}" if name != "ours" else ""), flush=True)


def show_memory(path: str, python: str, chosen: argparse.Namespace) -> None:
    size = N_PAIRS * N_BARS * N_FEATURES * 4 / 2**20
    print(
        f"Memory at 256 candles; the features are {size:.1f} MB, a batch of {SMALL} windows {size_of_batch(256):.1f} MB"
    )
    print(f"{'':26s}{'held / features':>17s}{'peak growth, MB':>17s}{'built in, s':>13s}")
    for name in ("ours", "materialised", "qlib"):
        found = load(path, python, name, 256, chosen, SMALL)
        print(f"{NAMES[name]:26s}{found['held']:17.2f}{found['grown_mb']:17.0f}{found['built']:13.2f}", flush=True)


def show_fits(path: str, python: str, chosen: argparse.Namespace) -> None:
    n_train = int(TRAIN * N_BARS) * N_PAIRS
    print(f"LSTM, width {WIDTH}, {LAYERS} layer, {n_train} training rows, {chosen.epochs} epochs")
    print(f"{'':26s}{'lookback':>9s}{'seconds':>9s}{'labels/s':>10s}{'test IC':>9s}")
    for lookback in (24, 64):
        theirs = rival(python, "fit", path, lookback, chosen.device, chosen.epochs, TRAIN, VALID, WIDTH, LAYERS)
        runs = {"Qlib, pytorch_lstm_ts": theirs}
        for training in ("window", "chunked"):
            runs[f"ours, {training}"] = run_side("fit", path, lookback, chosen.device, chosen.epochs, training)
        for name, fit in runs.items():
            ratio = "" if fit is theirs else f"   {fit['rate'] / theirs['rate']:.1f} x Qlib"
            print(
                f"{name:26s}{lookback:9d}{fit['seconds']:9.1f}{fit['rate']:10,.0f}{fit['ic']:9.4f}{ratio}", flush=True
            )


def show_wait(path: str, python: str, chosen: argparse.Namespace) -> None:
    print("Training steps with default networks: labels per second, and share of the time that waits for data")
    for network, training in (
        ("mlp", "window"),
        ("lstm", "window"),
        ("lstm", "chunked"),
        ("gru", "chunked"),
        ("tcn", "chunked"),
        ("transformer", "chunked"),
    ):
        found = run_side("wait", path, 64, chosen.device, network, training)
        print(f"{network + ', ' + training:26s}{found['rate']:12,.0f}{found['share']:8.1%}", flush=True)


PARTS = {"loader": show_loaders, "memory": show_memory, "fit": show_fits, "wait": show_wait}
NAMES = {"ours": "ours", "materialised": "windows stored, DataLoader", "qlib": "Qlib TSDataSampler"}


def load(path: str, python: str, name: str, lookback: int, chosen: argparse.Namespace, batch: int) -> dict:
    """The fastest of several runs of one loader."""
    arguments = (path, lookback, chosen.device, batch)
    runs = [
        rival(python, "load", *arguments) if name == "qlib" else run_side(name, *arguments)
        for _ in range(chosen.repeats)
    ]
    return max(runs, key=lambda found: found["rate"])


def run_side(name: str, *arguments) -> dict:
    return json.loads(run(sys.executable, __file__, "--side", name, text=json.dumps(arguments)))


def rival(python: str, *arguments) -> dict:
    return json.loads(run(python, RIVALS, *map(str, arguments)))


def run(*command: str | Path, text: str | None = None) -> str:
    """The last line that a process prints, run with one thread."""
    command = [*map(str, command)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout.splitlines()[-1]


def seconds_of(device: str) -> str:
    return "CPU time" if device == "cpu" else "wall time"


def size_of_batch(lookback: int) -> float:
    return SMALL * lookback * N_FEATURES * 4 / 2**20


if __name__ == "__main__":
    main()
