"""vectorbt and backtesting.py on a case that backtest.py wrote; runs in an environment of their own.

    python backtest_rivals.py ENGINE FOLDER REPEATS

Signals are given to vectorbt one candle late, to be filled at the open; costs are 0.12 % a side, the stake is fixed.
"""

import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd

PART = 50_000  # candles of (c) that backtesting.py is measured on: one level of the 200


def main() -> None:
    engine, folder, repeats = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(SIDES[engine](folder, repeats) if engine != "engines" else engines()))


def engines() -> dict:
    """The variants of vectorbt that are installed, for each case."""
    try:
        version("vectorbt-rust")
    except PackageNotFoundError:
        signals = ["vectorbt numba"]
    else:
        signals = ["vectorbt numba", "vectorbt rust"]
    return {"vectorbt": {"a": signals, "b": ["vectorbt order_func"], "c": signals}}


def load(folder: Path) -> tuple[dict, dict]:
    described = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    with np.load(folder / "case.npz") as stored:
        return described, {name: stored[name] for name in stored.files}


def signals_of(score: np.ndarray, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Entries and exits at the open of each candle, (candles, pairs or levels)."""
    late = np.vstack([np.zeros((1, score.shape[1])), score[:-1]])
    return late > levels, late < -levels


def from_signals(engine: str):
    def run(folder: Path, repeats: int) -> dict:
        import vectorbt as vbt

        described, data = load(folder)
        many = len(data["levels"]) > 1
        frequency = "1h" if many else "1min"
        index = pd.date_range("2020-01-01", periods=len(data["close"]), freq=frequency)
        close, opening = (pd.Series(data[name][:, 0], index=index) for name in ("close", "open"))
        entries, exits = signals_of(data["score"], data["levels"])
        before = peak_mb()

        def call():
            account = vbt.Portfolio.from_signals(
                close,
                entries,
                exits,
                price=opening,
                size=described["stake"],
                size_type="value",
                fees=described["fee"],
                init_cash=described["balance"],
                freq=frequency,
                engine=engine,
            )
            final, trades = account.final_value(), account.trades.count()
            if many:
                return final, trades, account.trades.win_rate(), account.max_drawdown(), account.sharpe_ratio()
            account.value()
            return final, trades

        found = measured(call, repeats)
        final, trades = (float(np.sum(value)) for value in found.pop("result")[:2])
        note = f"engine {engine}" + (", five figures per level" if many else "")
        return found | described_as(before, final, trades, "vectorbt", f"from_signals, {note}")

    return run


def order_func(folder: Path, repeats: int) -> dict:
    """Shared cash and a limit of open trades: in vectorbt's free version only with functions of one's own."""
    import vectorbt as vbt
    from numba import njit
    from vectorbt.portfolio import nb

    described, data = load(folder)
    entries, exits = signals_of(data["score"], data["levels"])
    close = pd.DataFrame(data["close"], index=pd.date_range("2020-01-01", periods=len(data["close"]), freq="1h"))

    @njit
    def order(c, entries, exits, opening, stake, fee, most):
        price = opening[c.i, c.col]
        if c.position_now > 0:
            if exits[c.i, c.col]:
                return nb.order_nb(size=-c.position_now, price=price, fees=fee)
        elif entries[c.i, c.col]:
            n_open = 0
            for column in range(c.from_col, c.to_col):
                n_open += 1 if c.last_position[column] > 0 else 0
            if n_open < most:
                return nb.order_nb(size=stake / price, price=price, fees=fee)
        return nb.order_nothing_nb()

    before = peak_mb()

    def call():
        account = vbt.Portfolio.from_order_func(
            close,
            order,
            entries,
            exits,
            data["open"],
            described["stake"],
            described["fee"],
            described["open"],
            init_cash=described["balance"],
            cash_sharing=True,
            group_by=True,
            freq="1h",
        )
        account.value()
        return account.final_value(), account.trades.count()

    found = measured(call, repeats)
    final, trades = (float(value) for value in found.pop("result"))
    return found | described_as(before, final, trades, "vectorbt", "from_order_func, numba")


def backtesting(folder: Path, repeats: int) -> dict:
    """backtesting.py, one pair; it trades whole units, so prices are made small."""
    from backtesting import Backtest, Strategy

    described, data = load(folder)
    level, scale = float(np.median(data["levels"])), 1e-6
    index = pd.date_range("2020-01-01", periods=len(data["close"]), freq="1min")
    prices = {name.capitalize(): data[name][:, 0] * scale for name in ("open", "high", "low", "close")}
    entries, exits = data["score"][:, 0] > level, data["score"][:, 0] < -level
    stake = described["stake"]

    class Levels(Strategy):
        """Enters and leaves at the open after a signal."""

        def init(self):
            """Nothing to prepare."""

        def next(self):
            """Act on the signal of the newest candle."""
            now = len(self.data) - 1
            if self.position:
                if exits[now]:
                    self.position.close()
            elif entries[now]:
                self.buy(size=int(stake / self.data.Close[-1]))

    table = pd.DataFrame({**prices, "Volume": 1.0}, index=index)
    test = Backtest(table, Levels, cash=described["balance"], commission=described["fee"], finalize_trades=True)
    before = peak_mb()
    found = measured(test.run, repeats)
    result = found.pop("result")
    found |= described_as(before, float(result["Equity Final [$]"]), float(result["# Trades"]), "backtesting", "")
    return found | ({"part": PART} if len(data["levels"]) > 1 else {})


SIDES = {
    "vectorbt numba": from_signals("numba"),
    "vectorbt rust": from_signals("rust"),
    "vectorbt order_func": order_func,
    "backtesting.py": backtesting,
}


def measured(call, repeats: int) -> dict:
    """The best CPU and wall time of some calls after a first one, whose time is told apart."""
    start = time.process_time()
    result = call()
    first, cpu, wall = time.process_time() - start, [], []
    for _ in range(repeats):
        start, began = time.process_time(), time.perf_counter()
        result = call()
        cpu.append(time.process_time() - start)
        wall.append(time.perf_counter() - began)
    return {"result": result, "first": first, "cpu": min(cpu), "wall": min(wall)}


def described_as(before: float, final: float, trades: float, package: str, note: str) -> dict:
    return {
        "before_mb": before,
        "peak_mb": peak_mb(),
        "final": final,
        "trades": int(trades),
        "version": f"{package} {version(package)}",
        **({"note": note} if note else {}),
    }


def peak_mb() -> float:
    """The most memory that this process has held."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main()
