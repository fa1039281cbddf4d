"""How other tools write what the language has: Qlib, WorldQuant's 101 alphas, AlphaGen, AlphaAgent, the older tool.

All of them are read at once. A name is looked up in small letters together with the number of its arguments,
so that `Mean(x, 20)` is a mean over time and `MEAN(x)` one over the pairs.
"""

WINDOW_OR_VALUE = {"max": ("ts_max", "maximum"), "min": ("ts_min", "minimum")}
"""Names of two arguments: over a window if the second is a whole number of 2 or more, else element-wise."""

CONDITION_OR_VALUE = {"count": ("ts_count", "ts_known")}
"""Names that mean how often a condition holds, or, on any other series, how many of its values are known (Qlib)."""


def _aliases(arity: int, **names: str) -> dict[tuple[str, int], str]:
    return {(alias, arity): name for name, text in names.items() for alias in text.split()}


ALIASES: dict[tuple[str, int], str] = {
    **_aliases(
        1,
        cs_rank="rank csrank",
        cs_scale="scale",
        cs_zscore="zscore",
        cs_demean="demean",
        cs_mean="mean",
        cs_std="std",
        cs_median="median",
        cs_max="max",
        cs_min="min",
        log="ln",
    ),
    **_aliases(
        2,
        add="plus",
        sub="subtract minus",
        mul="multiply",
        div="divide",
        delay="ref shift ts_delay lag",
        pct_change="ts_pctchange tspctchange",
        log_ret="log_return",
        ts_mean="mean roll_mean rolling_mean tsmean sma ma",
        ts_sum="sum sumac tssum",
        ts_product="product prod",
        ts_std="std stddev ts_stddev roll_std rolling_std tsstd",
        ts_var="var tsvar",
        ts_skew="skew tsskew",
        ts_kurt="kurt tskurt",
        ts_max="rolling_max roll_max tsmax",
        ts_min="rolling_min roll_min tsmin",
        ts_argmax="idxmax argmax",
        ts_argmin="idxmin argmin",
        ts_median="med median tsmed",
        ts_mad="mad tsmad",
        ts_rank="rank tsrank",
        decay_linear="wma ts_decay_linear decaylinear tswma",
        ema="tsema ewm_mean",
        slope="ts_slope",
        pow="power",
        maximum="greater getgreater",
        minimum="less getless",
        delta="ts_delta diff tsdelta",
        ts_zscore="ts_z zscore",
        cs_resid="neutralize",
        signedpower="signed_power",
    ),
    **_aliases(
        3,
        ts_corr="corr correlation tscorr",
        ts_cov="cov covariance ts_covariance tscov",
        ts_quantile="quantile",
        ts_beta="regbeta",
        ts_resid="regresi",
        where="if if_else ifelse",
        clip="clamp",
    ),
}
"""Names in other dialects by (lower-case name, number of arguments)."""

KEYWORDS = {
    "window": "window n d w period periods timeperiod length",
    "lag": "lag periods period n d shift",
    "span": "span window n d w period timeperiod",
    "level": "level q qscore quantile",
    "exponent": "exponent power a",
    "low": "low lower lo min",
    "high": "high upper hi max",
    "condition": "condition cond",
}
"""By which names an argument may be given: those of the parameter, and those of pandas, TA-Lib and Qlib."""

WORLDQUANT = frozenset(
    {
        *("ts_rank", "ts_max", "ts_min", "ts_argmax", "ts_argmin", "correlation", "covariance", "stddev"),
        *("decay_linear", "delta", "delay", "sum", "product"),
    }
)
"""Functions of the 101 formulas, whose windows may be fractions: they are rounded down, as the paper says."""

NOTES = {
    "wma": "WMA divides by the sum of its weights here; Qlib divides by the window once more, its values are n times "
    "smaller",
}
"""What to know about a name whose numbers differ from those of the tool it comes from."""

_FUTURE = "it looks into the future"
_GROUPS = "candles have no industry groups; cs_demean(x) is the distance from the mean of all pairs"
_CALENDAR = "it mixes candle lengths; give the project that timeframe instead"
_FUNDAMENTAL = "point-in-time fundamentals are not part of candles"

UNSUPPORTED: dict[str, str] = {
    "indneutralize": _GROUPS,
    "indclass": _GROUPS,
    "sector": _GROUPS,
    "industry": _GROUPS,
    "subindustry": _GROUPS,
    "cap": "candles have no market capitalisation",
    "market_cap": "candles have no market capitalisation",
    "factor": "candles hold traded prices; there is no adjustment factor",
    "changeinstrument": "it reads one other instrument; use the cs_ operators for what the other pairs do",
    "mask": "it reads one other instrument; use the cs_ operators for what the other pairs do",
    "tresample": _CALENDAR,
    "p": _FUNDAMENTAL,
    "pref": _FUNDAMENTAL,
    "sequence": "write slope(x, n), rsquare(x, n) or resi(x, n) for a regression on time",
    "lead": _FUTURE,
    "ts_lead": _FUTURE,
    "next": _FUTURE,
    "future": _FUTURE,
    "future_return": _FUTURE,
    "bfill": _FUTURE,
    "backfill": _FUTURE,
    "bfillnan": _FUTURE,
    "interpolate": _FUTURE,
    "ffill": "it would hide gaps; a missing value is NaN here",
    "ffillnan": "it would hide gaps; a missing value is NaN here",
    "fillna": "it would hide gaps; a missing value is NaN here",
}
"""What is known, and why it cannot be written."""
