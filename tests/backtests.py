"""Random backtests over the whole space of options, each drawn from its seed alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from agent_market.trading import BacktestOptions, snapshot_markets
from agent_market.trading.markets import leverage_tiers
from agent_market.trading.signals import SIGNALS, signals_of

MINUTES = {"5m": 5, "1h": 60, "4h": 240}
NAMES = ["ADA", "BTC", "ETH", "SUI", "XRP", "ZEC"]
PRICES = ["open", "high", "low", "close"]


@dataclass(frozen=True)
class Backtest:
    """The arguments that both engines take."""

    candles: pd.DataFrame
    signals: pd.DataFrame
    markets: dict[str, dict]
    options: BacktestOptions
    timeframe: str
    trading_mode: str
    funding: pd.DataFrame | None

    def run(self, engine: Any) -> Any:
        """What an engine makes of it."""
        return engine(
            self.candles,
            self.signals,
            self.markets,
            self.options,
            timeframe=self.timeframe,
            trading_mode=self.trading_mode,
            funding=self.funding,
        )

    def __str__(self) -> str:
        """What is needed to see why a backtest differs."""
        given = self.options.model_dump(exclude={"positions"}, exclude_defaults=True)
        markets = {pair: (m["precision"], m["limits"], m["contractSize"]) for pair, m in self.markets.items()}
        return f"{self.trading_mode} {self.timeframe} {given}\nmarkets: {markets}"


def draw_backtest(seed: int) -> Backtest:
    """One backtest; the same seed draws the same."""
    rng = np.random.default_rng(seed)
    mode, timeframe = str(rng.choice(["spot", "futures"])), str(rng.choice(["5m", "1h", "4h"], p=[0.4, 0.5, 0.1]))
    suffix = ":USDT" if mode == "futures" else ""
    pairs = [f"{name}/USDT{suffix}" for name in NAMES[: rng.integers(1, len(NAMES) + 1)]]
    candles = _candles(rng, pairs, timeframe)
    options = _options(rng, mode, MINUTES[timeframe], len(pairs))
    return Backtest(
        candles=candles,
        signals=_signals(rng, candles),
        markets=_markets(rng, candles, options, mode),
        options=options,
        timeframe=timeframe,
        trading_mode=mode,
        funding=_funding(rng, candles, timeframe) if mode == "futures" else None,
    )


def _chance(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _candles(rng: np.random.Generator, pairs: list[str], timeframe: str) -> pd.DataFrame:
    """Random walks with jumps, holes, late starts and early ends; most across the turn of a month."""
    length = int(rng.integers(30, 220))
    step = pd.Timedelta(minutes=MINUTES[timeframe])
    turn = pd.Timestamp("2024-02-01", tz="UTC").as_unit("ms")
    dates = pd.date_range(turn - int(rng.integers(0, length)) * step, periods=length, freq=step, unit="ms")
    volatility, jump = _log_uniform(rng, 3e-4, 3e-2), rng.choice([0.0, 0.0, 0.5, 3.0])
    tables = []
    for pair in pairs:
        rows = np.arange(length)
        keep = np.ones(length, dtype=bool)
        if len(pairs) > 1 and _chance(rng, 0.3):
            keep &= rows >= rng.integers(0, length)
        if len(pairs) > 1 and _chance(rng, 0.3):
            keep &= rows < rng.integers(1, length + 1)
        for _ in range(rng.integers(0, 3)):
            start = rng.integers(0, length)
            keep &= (rows < start) | (rows > start + rng.integers(0, 12))
        keep[rng.integers(0, length)] |= not keep.any()
        prices = _prices(rng, length, volatility, float(jump), dates >= turn)
        table = pd.DataFrame({"pair": pair, "date": dates, **prices, "volume": 1.0, "filled": False})
        tables.append(table[keep])
    return pd.concat(tables, ignore_index=True).astype({"pair": "category"})


def _prices(
    rng: np.random.Generator, length: int, volatility: float, jump: float, later: np.ndarray
) -> dict[str, np.ndarray]:
    """Open, high, low and close on a tick that is fine, coarse or missing, and in some coins changes with the month."""
    price = _log_uniform(rng, 1e-6, 1e5)
    moves = rng.normal(0, volatility, (length, 6))
    moves[:, 0] *= jump  # from one close to the next open
    walk = price * np.exp(np.clip(moves.ravel().cumsum(), -4, 4)).reshape(length, 6)
    digits = int(rng.integers(2, 8)) - int(np.floor(np.log10(price)))  # decimals that leave 2 to 7 digits
    digits = min(digits, 10)  # freqtrade trades no finer tick
    if price < 1e-3 or not _chance(rng, 0.1):  # else prices off any tick
        decimals = np.where(later & _chance(rng, 0.3), max(digits - 1, 0), max(digits, 0))
        walk = np.maximum(walk, 10.0 ** -decimals[:, None].astype(float))
        walk = np.stack([row.round(places) for row, places in zip(walk, decimals, strict=True)])
    low, high = walk.min(axis=1), walk.max(axis=1)
    return {"open": walk[:, 0], "high": high, "low": low, "close": walk[:, -1]}


def _signals(rng: np.random.Generator, candles: pd.DataFrame) -> pd.DataFrame:
    """Four independent signals that may contradict one another, or the levels of positions; rows may be missing."""
    if _chance(rng, 0.3):
        drawn = np.where(rng.random(len(candles)) < 0.15, rng.uniform(-1, 1, len(candles)), np.nan)
        held = pd.Series(drawn).groupby(candles["pair"].to_numpy()).ffill().fillna(0.0)
        signals = signals_of(candles[["pair", "date"]].assign(position=held.to_numpy()))
    else:
        density = {name: _log_uniform(rng, 0.01, 0.9) for name in SIGNALS}
        signals = candles[["pair", "date"]].assign(
            **{name: rng.random(len(candles)) < density[name] for name in SIGNALS}, size=1.0
        )
        if _chance(rng, 0.4):
            signals["size"] = np.where(rng.random(len(candles)) < 0.1, 0.0, rng.uniform(0, 1, len(candles)))
    if _chance(rng, 0.3):  # of part of the candles only: the window is that of the signals
        first, last = np.sort(rng.choice(signals["date"].unique(), 2))
        signals = signals[signals["date"].between(first, last)].reset_index(drop=True)
    missing = rng.random(len(signals)) < rng.choice([0.0, 0.0, 0.05, 0.3])
    missing[rng.integers(0, len(signals))] = False
    return signals[~missing].reset_index(drop=True)


def _options(rng: np.random.Generator, mode: str, minutes: int, n_pairs: int) -> BacktestOptions:
    balance, n_trades = round(_log_uniform(rng, 100, 1e5), 2), int(rng.integers(1, n_pairs + 2))
    leverage = 1.0
    if mode == "futures" and _chance(rng, 0.7):
        leverage = float(rng.choice([2, 3, 5, 10, 20, 40])) if _chance(rng, 0.7) else round(rng.uniform(1, 40), 2)
    given: dict[str, Any] = {
        "starting_balance": balance,
        "stake_amount": "unlimited" if _chance(rng, 0.6) else round(balance / n_trades * rng.uniform(0.05, 1.3), 2),
        "tradable_balance_ratio": float(rng.choice([0.99, 0.5, 1.0])),
        "max_open_trades": n_trades,
        "fee": float(rng.choice([0.0, 0.0004, 0.001, 0.0075])),
        "slippage": float(rng.choice([0.0, 0.0002, 0.003])),
        "leverage": leverage,
        "liquidation_buffer": float(rng.choice([0.05, 0.05, 0.0, 0.3])),
        "stoploss": -0.99
        if _chance(rng, 0.4 if leverage < 5 else 0.7)
        else -round(min(_log_uniform(rng, 1e-3, 0.1) * leverage, 0.9), 5),
        "use_exit_signal": _chance(rng, 0.8),
        "exit_profit_only": _chance(rng, 0.2),
        "exit_profit_offset": float(rng.choice([0.0, 0.005, -0.01])),
        "ignore_roi_if_entry_signal": _chance(rng, 0.3),
    }
    if _chance(rng, 0.5):
        given["minimal_roi"] = _roi(rng, minutes, leverage)
    if _chance(rng, 0.4):
        given |= _trailing(rng, leverage)
    return BacktestOptions(**given)


def _roi(rng: np.random.Generator, minutes: int, leverage: float) -> dict[int, float]:
    """Up to four steps, on and off the candles' grid, some of which take a loss; at times -1, which closes always."""
    table = {}
    for after in sorted(rng.integers(0, 30, rng.integers(1, 5)) * (not _chance(rng, 0.1)) + 0):
        off_grid = int(rng.integers(1, minutes)) if _chance(rng, 0.2) else 0
        table[int(after) * minutes + off_grid] = round(_log_uniform(rng, 5e-4, 0.1) * leverage, 5)
    if _chance(rng, 0.2):
        table[int(rng.integers(1, 40)) * minutes] = -1.0 if _chance(rng, 0.6) else -0.02
    if _chance(rng, 0.5):
        table[0] = round(_log_uniform(rng, 1e-3, 0.3) * leverage, 5)
    return table


def _trailing(rng: np.random.Generator, leverage: float) -> dict[str, Any]:
    given: dict[str, Any] = {"trailing_stop": True}
    if _chance(rng, 0.7):
        distance = round(min(_log_uniform(rng, 1e-3, 0.05) * leverage, 0.4), 5)
        given["trailing_stop_positive"] = distance
        if _chance(rng, 0.7):
            given["trailing_stop_positive_offset"] = round(distance * rng.uniform(1.05, 2.4), 5)
            given["trailing_only_offset_is_reached"] = _chance(rng, 0.5)
    elif _chance(rng, 0.5):
        given["trailing_stop_positive_offset"] = 0.01
    return given


def _markets(rng: np.random.Generator, candles: pd.DataFrame, options: BacktestOptions, mode: str) -> dict[str, dict]:
    """Markets with fine and coarse steps, limits that bind, contracts of several sizes and tiers that do."""
    markets = snapshot_markets(candles, fee=options.fee, trading_mode=mode)
    stake = options.starting_balance / options.max_open_trades
    for pair, market in markets.items():
        price = float(candles.loc[candles["pair"] == pair, "close"].median())
        contract = float(rng.choice([1.0, 1.0, 0.001, 10.0, 100.0])) if mode == "futures" else 1.0
        exponent = np.floor(np.log10(stake / price / contract)) - rng.integers(0, 7)
        step = float(f"{rng.choice(['1', '1', '5', '2.5'])}e{int(exponent)}")
        if mode == "futures":
            market["contractSize"] = contract
            market["leverageTiers"] = _tiers(rng, stake)
        market["precision"]["amount"] = step
        market["limits"]["amount"] = {"min": step if _chance(rng, 0.5) else None, "max": None}
        market["limits"]["cost"] = {
            "min": float(rng.choice([0.1, 5.0, round(stake * rng.uniform(0.2, 1.1), 2)])),
            "max": None,
        }
        if _chance(rng, 0.1):
            market["limits"]["cost"]["min"] = None
        if _chance(rng, 0.15):
            market["limits"]["cost"]["max"] = round(stake * rng.uniform(0.3, 1.5) / contract, 4)
        if _chance(rng, 0.1):
            market["limits"]["amount"]["max"] = float(stake * rng.uniform(0.3, 1.5) / price / contract)
    return markets


def _tiers(rng: np.random.Generator, stake: float) -> list[dict[str, Any]]:
    """Tiers of a large coin, of a small one, of one that is not listed, or with bounds about the stakes in use."""
    kind = rng.choice(["large", "small", "unlisted", "narrow"])
    if kind != "narrow":
        return leverage_tiers({"large": "BTC/USDT:USDT", "small": "ADA/USDT:USDT", "unlisted": "-"}[kind])
    bounds = [0.0, *np.round(np.sort(stake * rng.uniform(0.2, 8, 2)), 2).tolist(), None]
    rates, leverages, amount, tiers = [0.005, 0.02, 0.1], [50.0, 20.0, 5.0], 0.0, []
    for number, (rate, most) in enumerate(zip(rates, leverages, strict=True)):
        if number:
            amount += bounds[number] * (rate - rates[number - 1])
        tiers.append(
            {
                "minNotional": bounds[number],
                "maxNotional": bounds[number + 1],
                "maintenanceMarginRate": rate,
                "maxLeverage": most,
                "maintAmt": round(amount, 8),
            }
        )
    return tiers


def _funding(rng: np.random.Generator, candles: pd.DataFrame, timeframe: str) -> pd.DataFrame | None:
    """Funding each hour or every eight, with holes; in some backtests none, in others rates beyond all measure."""
    if _chance(rng, 0.2):
        return None
    every, scale = str(rng.choice(["1h", "8h"])), _log_uniform(rng, 1e-5, 1e-2)
    tables = []
    for pair, rows in candles.groupby("pair", observed=True):
        dates = pd.date_range(rows["date"].iloc[0].floor(every), rows["date"].iloc[-1], freq=every, unit="ms")
        near = rows.set_index("date")["open"].reindex(dates, method="nearest").to_numpy()
        table = pd.DataFrame({"pair": pair, "date": dates, "funding_rate": rng.normal(0, scale, len(dates))})
        table["mark_price"] = near * (1 + rng.normal(0, 1e-3, len(dates)))
        tables.append(table[rng.random(len(table)) < 0.9])
    return pd.concat(tables, ignore_index=True)
