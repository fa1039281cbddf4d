"""Macros: names that stand for an expression, such as `rsi(close, 14)` and the columns of the older tool.

A macro is written out before anything is checked or counted, so it can do nothing that the language cannot.
Recursive averages of TA-Lib (Wilder's, with weight 1 / n) are `ema` with a span of 2 n - 1: equal to TA-Lib's once the
start is forgotten, which is what the look-back says.
"""

import re
from dataclasses import dataclass

from agent_market.factors.signature import Signature

LITERALS = ("window", "lag", "fast", "slow", "signal", "n", "m", "level")
"""Parameters of macros that are written out as numbers; every other parameter is a series."""


@dataclass(frozen=True)
class Macro(Signature):
    """A name, its parameters, what it stands for, and what it means.

    In the formula `{window}` is the number given, `{wilder}` is 2 window - 1, `{wider}` window + 1, and
    `{population}` sqrt((window - 1) / window), which turns a standard deviation that divides by n - 1 into one that
    divides by n.
    """

    formula: str
    meaning: str
    least: int = 1

    def text(self, literals: dict[str, float]) -> str:
        """The formula with the numbers in their places; the names of the series stay."""
        numbers = {name: int(value) if float(value).is_integer() else value for name, value in literals.items()}
        window = max(numbers.get("window", 1), 1)
        if self.name == "sma":
            numbers["span"] = _span(**numbers)
        derived = {
            "wilder": 2 * window - 1,
            "wider": window + 1,
            "population": repr(((window - 1) / window) ** 0.5),
            "sample": repr((window / max(window - 1, 1)) ** 0.5),
        }
        return self.formula.format(**derived, **numbers)


def _span(n: int, m: int) -> int:
    """The span of an exponential mean of weight m / n; a ValueError if it is not a whole number."""
    span = 2 * n / m - 1
    if not 0 < m <= n or not span.is_integer():
        raise ValueError(f"sma(x, {n}, {m}) has no whole span 2 n / m - 1, found {span:g}; write ema(x, span)")
    return int(span)


_TYPICAL = "(high + low + close) / 3"
_VWAP = "ts_sum((high + low + close) * volume, {window}) / (3 * ts_sum(volume, {window}))"
_RANGE = "(ts_max(high, {window}) - ts_min(low, {window}))"
_FAST_K = f"100 * (close - ts_min(low, {{window}})) / {_RANGE}"
_TRUE_RANGE = "maximum(high, delay(close, 1)) - minimum(low, delay(close, 1))"
_CCI = f"({_TYPICAL} - ts_mean({_TYPICAL}, {{window}})) / (0.015 * ts_mad({_TYPICAL}, {{window}}))"
_RSI = "100 * ema(maximum(delta(x, 1), 0), {wilder}) / ema(abs(delta(x, 1)), {wilder})"
_CMO = "100 * ema(delta(x, 1), {wilder}) / ema(abs(delta(x, 1)), {wilder})"
_TEMA = "3 * ema(x, {window}) - 3 * ema(ema(x, {window}), {window}) + ema(ema(ema(x, {window}), {window}), {window})"
_CMF = (
    "ts_sum(where(high == low, 0, (2 * close - high - low) / (high - low)) * volume, {window}) "
    "/ ts_sum(volume, {window})"
)
_OBV = "ts_sum(sign(delta(close, 1)) * volume, {window}) / ts_sum(volume, {window})"

MACROS: dict[tuple[str, int], Macro] = {
    (name, len(signature.split())): Macro(name, signature, formula, meaning, *least)
    for name, signature, formula, meaning, *least in (
        ("returns", "", "pct_change(close, 1)", "simple return of the candle"),
        ("change", "", "pct_change(close, 1)", "simple return of the candle (Qlib's field)"),
        ("amount", "", "vwap * volume", "traded value, in the quote currency"),
        ("quote_volume", "", "vwap * volume", "traded value, in the quote currency"),
        ("typical_price", "", _TYPICAL, "mean of high, low and close"),
        ("true_range", "", _TRUE_RANGE, "range of the candle and the close before it"),
        ("log1p", "x", "log(1 + x)", "log(1 + x); NaN where x <= -1"),
        ("inv", "x", "1 / x", "one over x"),
        ("scale", "x m", "{m} * cs_scale(x)", "x over the sum of |x| of all pairs, times m"),
        ("signed_log", "x", "slog1p(x)", "sign(x) * log(1 + |x|)"),
        ("sumif", "x window condition", "ts_sum(where(condition, x, 0), {window})", "sum where a condition holds"),
        ("filter", "x condition", "where(condition, x, 0)", "x where a condition holds, else 0"),
        ("percentile", "x level window", "ts_quantile(x, {window}, {level})", "quantile, with the level first"),
        ("tsir", "x window", "ts_mean(x, {window}) / ts_std(x, {window})", "mean over standard deviation", 2),
        ("tsminmaxdiff", "x window", "ts_max(x, {window}) - ts_min(x, {window})", "range"),
        ("tsmaxdiff", "x window", "x - ts_max(x, {window})", "distance from the largest value"),
        ("tsmindiff", "x window", "x - ts_min(x, {window})", "distance from the smallest value"),
        ("tsdiv", "x window", "x / ts_mean(x, {window})", "x over its mean"),
        ("macd", "x fast slow", "ema(x, {fast}) - ema(x, {slow})", "fast minus slow exponential mean"),
        (
            "macd_diff",
            "x fast slow signal",
            "ema(x, {fast}) - ema(x, {slow}) - ema(ema(x, {fast}) - ema(x, {slow}), {signal})",
            "macd minus its own exponential mean",
        ),
        ("sma", "x n m", "ema(x, {span})", "exponential mean of weight m / n"),
        ("dema", "x window", "2 * ema(x, {window}) - ema(ema(x, {window}), {window})", "double exponential mean"),
        ("tema", "x window", _TEMA, "triple exponential mean"),
        ("trix", "x window", "100 * pct_change(ema(ema(ema(x, {window}), {window}), {window}), 1)", "its return, %"),
        ("roc", "x lag", "100 * pct_change(x, {lag})", "rate of change, %"),
        ("mom", "x lag", "delta(x, {lag})", "momentum: difference"),
        ("rsi", "x window", _RSI, "relative strength index, 0..100", 2),
        ("cmo", "x window", _CMO, "Chande's momentum oscillator, -100..100", 2),
        ("atr", "window", f"ema({_TRUE_RANGE}, {{wilder}})", "average true range"),
        ("natr", "window", f"100 * ema({_TRUE_RANGE}, {{wilder}}) / close", "average true range, % of the close"),
        ("adx", "window", "adx(high, low, close, {window})", "average directional index of the candles", 2),
        ("mfi", "window", "mfi(high, low, close, volume, {window})", "money flow index of the candles", 2),
        ("cci", "window", _CCI, "commodity channel index", 2),
        ("cmf", "window", _CMF, "Chaikin's money flow, -1..1; a candle without a range counts 0"),
        ("obv_delta", "window", _OBV, "volume signed by the return, as a share of all volume, -1..1"),
        ("willr", "window", f"-100 * (ts_max(high, {{window}}) - close) / {_RANGE}", "Williams' %R, -100..0", 2),
        ("fast_k", "window", _FAST_K, "fast stochastic %K, 0..100", 2),
        ("stoch_k", "window", f"ts_mean({_FAST_K}, 3)", "slow stochastic %K: fast %K, mean of 3", 2),
        ("stoch_d", "window", f"ts_mean(ts_mean({_FAST_K}, 3), 3)", "slow stochastic %D: slow %K, mean of 3", 2),
        ("aroon_up", "window", "100 * (ts_argmax(high, {wider}) - 1) / {window}", "how new the high is, 0..100"),
        ("aroon_down", "window", "100 * (ts_argmin(low, {wider}) - 1) / {window}", "how new the low is, 0..100"),
        ("rolling_vwap", "window", _VWAP, "volume-weighted mean of the typical price"),
        ("bb_middle", "x window", "ts_mean(x, {window})", "middle of the Bollinger band"),
        ("bb_upper", "x window", "ts_mean(x, {window}) + 2 * {population} * ts_std(x, {window})", "its upper edge", 2),
        ("bb_lower", "x window", "ts_mean(x, {window}) - 2 * {population} * ts_std(x, {window})", "its lower edge", 2),
        ("bb_width", "x window", "4 * {population} * ts_std(x, {window}) / ts_mean(x, {window})", "width / middle", 2),
        ("donchian_width", "window", f"{_RANGE} / close", "highest high minus lowest low, over the close"),
    )
}
"""All macros by (name, number of arguments)."""

FEATURES: dict[str, Macro] = {
    name: Macro(f"feat_{name}", signature, formula, meaning, *least)
    for name, signature, formula, meaning, *least in (
        ("momentum", "window", "delta(close, {window})", "MOM, in units of price"),
        ("roc", "window", "100 * pct_change(close, {window})", "ROC, %"),
        (
            "realized_vol",
            "window",
            "93.59487165438073 * {population} * ts_std(returns, {window})",
            "standard deviation of returns, times sqrt(24 * 365)",
            2,
        ),
        ("sma_pct", "window", "ts_mean(close, {window}) / close - 1", "distance of the mean from the close"),
        ("ema_pct", "window", "ema(close, {window}) / close - 1", "the same of the exponential mean"),
        ("wma_pct", "window", "decay_linear(close, {window}) / close - 1", "the same of the linear mean"),
        ("tema_pct", "window", f"({_TEMA.replace('x', 'close')}) / close - 1", "the same of TEMA"),
        ("kama_pct", "window", "kama(close, {window}) / close - 1", "the same of KAMA", 2),
        ("vwap_pct", "window", f"{_VWAP} / close - 1", "the same of the volume-weighted mean"),
        (
            "vwap_slope",
            "window",
            f"delta({_VWAP}, {{window}}) / {{window}}",
            "mean change of the volume-weighted mean, in units of price per candle",
        ),
        ("linearreg_slope", "window", "slope(close, {window})", "LINEARREG_SLOPE, in units of price per candle", 2),
        ("mfi", "window", "mfi(high, low, close, volume, {window})", "MFI", 2),
        ("rsi", "window", _RSI.replace("x,", "close,"), "RSI", 2),
        ("adx", "window", "adx(high, low, close, {window})", "ADX", 2),
        ("cci", "window", _CCI, "CCI", 2),
        ("cmo", "window", _CMO.replace("x,", "close,"), "CMO", 2),
        ("cmf", "window", _CMF, "Chaikin's money flow; a candle without a range counts 0"),
        ("atr_norm", "window", f"ema({_TRUE_RANGE}, {{wilder}}) / close", "ATR over the close"),
        ("bb_width", "window", "4 * {population} * ts_std(close, {window}) / ts_mean(close, {window})", "BBANDS", 2),
        ("donchian_width", "window", f"{_RANGE} / close", "highest high minus lowest low, over the close"),
        (
            "range_pct",
            "window",
            "ts_mean((high - low) / close, {window})",
            "chosen: mean over the period, as its description says; the published code left the period out",
        ),
        ("volume_ratio", "window", "volume / ts_mean(volume, {window})", "volume over its mean"),
        ("volume_zscore", "window", "{sample} * ts_zscore(volume, {window})", "z-score of the volume", 2),
        ("price_zscore", "window", "{sample} * ts_zscore(close, {window})", "z-score of the close", 2),
        ("return_zscore", "window", "{sample} * ts_zscore(returns, {window})", "z-score of the return", 2),
        ("return_skew", "window", "ts_skew(returns, {window})", "skewness of returns", 3),
        (
            "obv_delta",
            "window",
            _OBV,
            "chosen: signed volume as a share of volume; the published code divided by the OBV, which depends on where "
            "the candles begin",
        ),
        ("stoch_k", "window", f"ts_mean({_FAST_K}, 3)", "STOCH slow %K", 2),
        ("stoch_d", "window", f"ts_mean(ts_mean({_FAST_K}, 3), 3)", "STOCH slow %D", 2),
        ("psar_ratio", "", "psar(high, low) / close - 1", "SAR over the close, minus 1"),
        (
            "macd_diff",
            "",
            "ema(close, 12) - ema(close, 26) - ema(ema(close, 12) - ema(close, 26), 9)",
            "MACD minus its signal, 12 26 9, in units of price",
        ),
    )
}
"""The 31 types of the older tool's feature files; `feat_<type>_<period>` is the column of that type and period."""

_FEATURE = re.compile(r"feat_([a-z_]+?)(?:_(\d{1,4}))?")
_ADV = re.compile(r"adv(\d{1,4})")


def feature(kind: str, period: int | None) -> str:
    """The expression of a feature of the older tool; a ValueError says what does not fit."""
    macro = FEATURES.get(kind)
    if macro is None:
        raise ValueError(f"unknown type {kind!r}; the types are {', '.join(sorted(FEATURES))}")
    if not macro.arity:
        return macro.text({})
    if isinstance(period, bool) or not isinstance(period, int) or period < macro.least:
        raise ValueError(f"the period of {kind} must be a whole number of {macro.least} or more, found {period!r}")
    return macro.text({"window": period})


def by_name(name: str) -> str | None:
    """The expression of a name without arguments: `returns`, `adv20`, `feat_rsi_14`; None if it is none of these.

    A ValueError says why a period does not fit.
    """
    if macro := MACROS.get((name, 0)):
        return macro.text({})
    if match := _ADV.fullmatch(name):
        return f"ts_mean(volume, {int(match[1])})"
    match = _FEATURE.fullmatch(name)
    if match is None or match[1] not in FEATURES:
        return None
    kind, period = match.groups()
    if (period is None) == bool(FEATURES[kind].arity):
        return None
    return feature(kind, None if period is None else int(period))


def names() -> list[str]:
    """The macros that stand without arguments, `advN` and `feat_` columns left out."""
    return sorted(name for name, arity in MACROS if not arity)
