"""An invented hourly market that looks like crypto, with a planted signal whose strength is a dial.

Prices are martingales: without the signal (`signal_strength` 0) the expected simple return of every candle is
exactly zero, whatever is known. The signal adds a mean to the next candle's return and touches nothing else:
the functions that draw the shocks, the volatility, the regimes and the signal's state never see its strength.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import erf

from agent_market.errors import ParameterError
from agent_market.market.options import SIMULATED_TIMEFRAME, MarketOptions, utc
from agent_market.market.pairs import unknown_pair

# Mean |return| by hour (UTC) and by weekday (Monday first) over its mean: BTC/USDT, average of 2020-21 and
# 2024-25.
HOUR_PROFILE = np.ravel(
    [
        [1.15, 1.05, 0.93, 0.86, 0.80, 0.81, 0.83, 0.91, 0.97, 0.90, 0.93, 0.90],
        [1.04, 1.20, 1.39, 1.22, 1.14, 1.05, 1.00, 1.01, 1.05, 1.00, 0.96, 0.95],
    ]
)
WEEKDAY_PROFILE = np.array([1.16, 1.08, 1.06, 1.05, 1.08, 0.72, 0.85])

# Three regimes: calm, busy, crisis. Rows of REGIME_STEPS are the chances to go from one to the others, per
# candle.
REGIME_STEPS = np.array([[1 - 1 / 240, 1 / 300, 1 / 1200], [1 / 300, 1 - 1 / 240, 1 / 1200], [0.01, 0.01, 0.98]])
REGIME_VOLATILITY = np.array([0.85, 1.0, 1.8])
REGIME_LOADING = np.array([1.0, 1.0, 1.15])  # in a crisis all pairs follow the common factor more closely

BASE_VOLATILITY = 0.007  # standard deviation of the common factor's hourly return
SHOCK_DEGREES = 5.5  # of Student's t; hourly returns have tails of about that weight
JUMP_CHANCE, JUMP_SIZE = 1 / 250, 3.0  # per candle; standard deviation in units of a usual shock
GARCH_FACTOR = {"alpha": 0.11, "gamma": 0.05, "beta": 0.72}  # gamma: extra volatility after a fall
GARCH_PAIR = {"alpha": 0.13, "gamma": 0.0, "beta": 0.72}
SHOCK_SQUARED_CAP = 25.0  # one shock cannot blow the variance up
SLOW_HALF_LIFE, SLOW_SPREAD = 168.0, 0.36  # of log volatility, candles and standard deviation
LARGEST_MOVE = 0.6  # no hourly return is larger; cut at both ends alike, so the mean stays zero
WICK_SHAPE, WICK_SCALE = 2.0, 0.45  # gamma law of (upper + lower wick) / volatility
WICK_SLOPE = 1.2  # how clearly the wicks show the signal's state

BTC_TURNOVER, PAIR_TURNOVER = 5e7, 5e6  # quote currency per candle


@dataclass(frozen=True)
class Market:
    """The inner state of a simulated market, known only to the simulator.

    Arrays over candles hold one more row than there are candles: the row after the last is what the close of
    the last candle says about the next.
    """

    dates: pd.DatetimeIndex  # (n_candles + 1,) open times
    state: np.ndarray  # (n_candles + 1, n_pairs) the signal before candle t: unit variance, mean 0
    shown: np.ndarray  # (n_candles + 1, n_pairs) what the wicks of candle t - 1 show, a standard normal
    volatility: np.ndarray  # (n_candles + 1, n_pairs) standard deviation of candle t's return
    season: np.ndarray  # (n_candles + 1,) the part of the volatility that the clock gives
    noise: np.ndarray  # (n_candles + 1, n_pairs) return of candle t without the signal
    wick: np.ndarray  # (n_candles + 1, n_pairs) upper + lower wick over volatility
    activity: np.ndarray  # (n_candles + 1, n_pairs) slow part of log volume
    first_price: np.ndarray  # (n_pairs,)


def simulate(options: MarketOptions) -> pd.DataFrame:
    """Raw candles of the simulated market: pair, date (open time, UTC), open, high, low, close, volume.

    `open[t + 1]` is `close[t]`; prices are multiples of a fixed tick per pair. A larger `n_candles` or
    `n_pairs` only adds candles or pairs: those of the smaller market stay as they were.
    """
    market = _draw_market(options)
    strength = options.signal_strength
    mean = strength * market.volatility * market.state
    returns = np.clip(mean + np.sqrt(1 - strength**2) * market.noise, -0.9, 0.9)[:-1]
    ticks_per_unit = np.round(10.0 ** (5 - np.floor(np.log10(market.first_price))))  # six digits at first
    path = np.vstack([market.first_price, market.first_price * np.cumprod(1 + returns, axis=0)])
    opens, closes = path[:-1], path[1:]

    # the wicks hint at the NEXT candle: a long lower wick when what is shown for it is positive
    wick = (market.wick * market.volatility)[:-1]
    lower_share = 1 / (1 + np.exp(-WICK_SLOPE * market.shown[1:]))
    columns = {
        "open": _to_tick(opens, ticks_per_unit),
        "high": _to_tick(np.maximum(opens, closes) * np.exp(wick * (1 - lower_share)), ticks_per_unit),
        "low": _to_tick(np.minimum(opens, closes) * np.exp(-wick * lower_share), ticks_per_unit),
        "close": _to_tick(closes, ticks_per_unit),
        "volume": _volume(market),
    }
    return _as_table(options, market.dates[:-1], columns)


def planted_expectation(options: MarketOptions, horizon: int) -> pd.DataFrame:
    """What the simulator itself expects at each close: pair, date, expected; rows as in `simulate`.

    `expected` is the mean of `open[t + 1 + h] / open[t + 1] - 1` given all that is settled at the
    close of t, to first order: `strength * state[t] * sum over k = 1..h of phi^(k - 1) * volatility[t + k]`,
    where phi is the signal's persistence per candle (0 for a pattern) and the volatility after t + 1 is taken to
    change with the clock only. It is exact for h = 1 and exactly zero for strength 0.
    """
    market = _check_and_draw(options, horizon)
    return _expectation(options, market, market.state[1:], horizon)


def optimal_expectation(options: MarketOptions, horizon: int) -> pd.DataFrame:
    """The best forecast from a pair's own candles up to t: pair, date, expected; rows as in `simulate`.

    As `planted_expectation`, with the signal replaced by its mean given what the wicks showed up to the close of t:
    for a state by the Kalman filter of wicks and returns (Anderson & Moore 1979, section 3.1), the best of all that
    are linear in them; for a pattern from its two wicks. Volatility is taken as known. Without `signal_noise` it is
    `planted_expectation`.
    """
    market = _check_and_draw(options, horizon)
    noise = options.signal_noise
    observed = market.shown[1:] * np.sqrt(1 + noise**2)  # hidden + noise
    if noise == 0:
        signal = market.state[1:]
    elif options.signal_kind == "state":
        strength = options.signal_strength
        returns = strength * market.state + np.sqrt(1 - strength**2) * market.noise / market.volatility
        signal = _kalman_filter(observed, returns[:-1], options)
    else:
        signal = _neighbours(erf(observed / (noise * np.sqrt(2 + 2 * noise**2))))
    return _expectation(options, market, signal, horizon)


def simulated_pairs(options: MarketOptions) -> list[str]:
    """Names of all `n_pairs` simulated pairs: two that everyone knows, then invented ones."""
    invented = [f"SIM{number:02d}" for number in range(1, options.n_pairs - 1)]
    names = ["BTC", "ETH", *invented][: options.n_pairs]
    settlement = ":USDT" if options.trading_mode == "futures" else ""
    return [f"{name}/USDT{settlement}" for name in names]


def _draw_market(options: MarketOptions) -> Market:
    """All that is random: nothing here depends on the strength of the signal."""
    n_rows, n_pairs = options.n_candles + 1, options.n_pairs
    dates = pd.date_range(utc(options.start), periods=n_rows, freq=SIMULATED_TIMEFRAME, unit="ms")
    # each purpose of each pair has a stream of its own, so that more candles or pairs leave the others alone
    common, *seeds = np.random.SeedSequence(options.seed).spawn(n_pairs + 1)
    shock, jump, regime, slow = (np.random.default_rng(child) for child in common.spawn(4))
    streams = [[np.random.default_rng(child) for child in seed.spawn(7)] for seed in seeds]

    def per_pair(stream: int, draw: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
        return np.stack([draw(generators[stream]) for generators in streams], axis=1)

    def normal(generator: np.random.Generator) -> np.ndarray:
        return generator.normal(size=n_rows)

    loading, own_share, first_price = _characters(per_pair(0, lambda generator: generator.random(3)))
    factor_shock = (_shocks(shock, n_rows) + _jumps(jump, n_rows)) / np.sqrt(1 + JUMP_CHANCE * JUMP_SIZE**2)
    factor_shock = factor_shock[:, None]  # (n_rows, 1), the same for all pairs
    pair_shock = per_pair(1, lambda generator: _shocks(generator, n_rows))
    season, regimes = _season(dates), _regimes(regime.random(n_rows))[:, None]

    slow_factor = SLOW_SPREAD * _autoregression(normal(slow)[:, None], _per_candle(SLOW_HALF_LIFE))
    slow_pair = 0.7 * SLOW_SPREAD * _autoregression(per_pair(2, normal), _per_candle(SLOW_HALF_LIFE))
    clock = BASE_VOLATILITY * season[:, None] * np.exp(-(SLOW_SPREAD**2))
    factor = clock * np.exp(slow_factor) * REGIME_VOLATILITY[regimes] * _garch(factor_shock, **GARCH_FACTOR)
    factor = factor * loading * REGIME_LOADING[regimes]
    own = clock * np.exp(slow_pair + 0.6 * slow_factor) * np.sqrt(REGIME_VOLATILITY[regimes])
    own = own * own_share * _garch(pair_shock, **GARCH_PAIR)

    hidden = per_pair(3, normal)
    if options.signal_kind == "state":
        state = hidden = _autoregression(hidden, _per_candle(options.signal_half_life))
    else:  # no wick shows row 0
        state = np.concatenate([np.zeros((1, n_pairs)), _neighbours(np.sign(hidden[1:]))])

    return Market(
        dates=dates,
        state=state,
        shown=(hidden + options.signal_noise * per_pair(6, normal)) / np.sqrt(1 + options.signal_noise**2),
        volatility=np.sqrt(factor**2 + own**2),
        season=season,
        noise=np.clip(factor * factor_shock + own * pair_shock, -LARGEST_MOVE, LARGEST_MOVE),
        wick=per_pair(4, lambda generator: generator.gamma(WICK_SHAPE, WICK_SCALE, n_rows)),
        activity=_autoregression(per_pair(5, normal), 0.9),
        first_price=first_price,
    )


def _characters(nature: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loading on the common factor, own volatility over the factor's, and first price of each pair."""
    loading, own_share = 0.9 + 0.7 * nature[0], 0.9 + 0.7 * nature[1]
    first_price = np.exp(-3 + 9 * nature[2])
    for known, character in enumerate([(1.0, 0.35, 40_000.0), (1.2, 0.75, 2_500.0)][: nature.shape[1]]):
        loading[known], own_share[known], first_price[known] = character
    return loading, own_share, first_price


def _shocks(generator: np.random.Generator, n_rows: int) -> np.ndarray:
    """Symmetric shocks of unit variance with fat tails."""
    return generator.standard_t(SHOCK_DEGREES, n_rows) / np.sqrt(SHOCK_DEGREES / (SHOCK_DEGREES - 2))


def _jumps(generator: np.random.Generator, n_rows: int) -> np.ndarray:
    """Rare symmetric jumps in units of a usual shock; zero elsewhere."""
    happens, size = (np.random.default_rng(child) for child in generator.bit_generator.seed_seq.spawn(2))
    return JUMP_SIZE * size.normal(size=n_rows) * (happens.random(n_rows) < JUMP_CHANCE)


def _regimes(uniform: np.ndarray) -> np.ndarray:
    """The regime of each candle, a Markov chain that starts calm."""
    bounds = REGIME_STEPS.cumsum(axis=1)[:, :-1]
    regimes = np.empty(len(uniform), dtype=np.int64)
    current = 0
    for row, draw in enumerate(uniform):
        current = int((draw >= bounds[current]).sum())
        regimes[row] = current
    return regimes


def _garch(shocks: np.ndarray, alpha: float, gamma: float, beta: float) -> np.ndarray:
    """Volatility before each shock, variance about 1: GJR-GARCH (Glosten, Jagannathan, Runkle 1993)."""
    squared = np.minimum(shocks**2, SHOCK_SQUARED_CAP)
    factor = beta + (alpha + gamma * (shocks < 0)) * squared
    variance = np.empty_like(shocks)
    current = np.ones(shocks.shape[1])
    for row in range(len(shocks)):
        variance[row] = current
        current = (1 - alpha - gamma / 2 - beta) + factor[row] * current
    return np.sqrt(variance)


def _autoregression(draws: np.ndarray, persistence: float) -> np.ndarray:
    """AR(1) of unit variance along the rows, driven by standard normal draws."""
    out = np.empty_like(draws)
    current = out[0] = draws[0]
    scaled = np.sqrt(1 - persistence**2) * draws
    for row in range(1, len(draws)):
        current = out[row] = persistence * current + scaled[row]
    return out


def _neighbours(values: np.ndarray) -> np.ndarray:
    """Product of each row and the one before; 0 in the first row."""
    return np.concatenate([np.zeros_like(values[:1]), values[1:] * values[:-1]])


def _kalman_filter(observed: np.ndarray, returns: np.ndarray, options: MarketOptions) -> np.ndarray:
    """Mean of the state before candle t + 1 given candles up to t, both (n_candles, n_pairs).

    `observed[t]` is that state with noise, `returns[t]` holds that before candle t as one part among noise.
    """
    persistence, noise, strength = _per_candle(options.signal_half_life), options.signal_noise, options.signal_strength
    out = np.empty_like(observed)
    mean, variance = np.zeros(observed.shape[1]), 1.0
    for row, (shown, moved) in enumerate(zip(observed, returns, strict=True)):
        gain = variance * strength / (variance * strength**2 + 1 - strength**2)
        mean, variance = mean + gain * (moved - strength * mean), (1 - gain * strength) * variance
        mean, variance = persistence * mean, persistence**2 * variance + 1 - persistence**2
        gain = variance / (variance + noise**2)
        mean, variance = mean + gain * (shown - mean), (1 - gain) * variance
        out[row] = mean
    return out


def _check_and_draw(options: MarketOptions, horizon: int) -> Market:
    if options.source != "simulated":
        raise ParameterError(f"only market.source=simulated has a planted signal, not {options.source!r}")
    if horizon < 1:
        raise ParameterError(f"the horizon is {horizon} candles; it must be 1 or more")
    return _draw_market(options)


def _expectation(options: MarketOptions, market: Market, signal: np.ndarray, horizon: int) -> pd.DataFrame:
    """Mean of the return over the horizon when `signal` (n_candles, n_pairs) moves the next candle."""
    lasting = _per_candle(options.signal_half_life) if options.signal_kind == "state" else 0.0
    hour = pd.Timedelta(SIMULATED_TIMEFRAME)
    weight = sum(lasting**step * _season(market.dates[1:] + step * hour) for step in range(horizon))
    per_state = market.volatility[1:] * (weight / market.season[1:])[:, None]
    expected = options.signal_strength * signal * per_state
    return _as_table(options, market.dates[:-1], {"expected": expected})


def _volume(market: Market) -> np.ndarray:
    """Volume in base units, more in volatile times and large moves; the same for any signal strength."""
    volatility, noise = market.volatility[:-1], market.noise[:-1]
    turnover = np.full(len(market.first_price), PAIR_TURNOVER)
    turnover[:1] = BTC_TURNOVER
    log_activity = np.log(volatility / BASE_VOLATILITY) * 0.7 + np.abs(noise) / volatility * 0.25
    return np.round(turnover / market.first_price * np.exp(log_activity + 0.45 * market.activity[:-1]), 3)


def _season(dates: pd.DatetimeIndex) -> np.ndarray:
    return HOUR_PROFILE[dates.hour] * WEEKDAY_PROFILE[dates.day_of_week]


def _per_candle(half_life: float) -> float:
    """The part of a state that is left after one candle."""
    return 0.5 ** (1 / half_life)


def _to_tick(prices: np.ndarray, ticks_per_unit: np.ndarray) -> np.ndarray:
    """Prices in whole ticks, at least one; the division gives the doubles nearest to the decimals."""
    return np.maximum(np.rint(prices * ticks_per_unit), 1) / ticks_per_unit


def _as_table(options: MarketOptions, dates: pd.DatetimeIndex, columns: dict[str, np.ndarray]) -> pd.DataFrame:
    """One row per pair and date from arrays (n_candles, n_pairs), for the pairs asked for."""
    names = simulated_pairs(options)
    wanted = options.pairs or names
    missing = [pair for pair in wanted if pair not in names]
    if missing:
        raise unknown_pair(missing[0], names, "the simulated market")
    wanted = sorted(wanted)
    order = [names.index(pair) for pair in wanted]
    return pd.DataFrame(
        {
            "pair": pd.Categorical.from_codes(np.repeat(np.arange(len(wanted)), len(dates)), wanted),
            "date": pd.DatetimeIndex(np.tile(dates.tz_localize(None), len(wanted))).tz_localize("UTC"),
            **{name: values[:, order].T.ravel() for name, values in columns.items()},
        }
    )
