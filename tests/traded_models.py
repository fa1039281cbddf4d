"""Models trained the way the pipeline trains them, and what freqtrade would show of a market."""

from types import SimpleNamespace

import pandas as pd

from agent_market.adapters import parse_model_options
from agent_market.factors import compute_factors, load_factors
from agent_market.learning.folds import FoldOptions, make_folds
from agent_market.learning.labels import LabelOptions, build_labels
from agent_market.learning.walk_forward import TrainingOptions, walk_forward
from agent_market.live import TradedModel
from agent_market.market.candles import clean_candles
from agent_market.market.options import MarketOptions
from agent_market.trading.options import BacktestOptions
from agent_market.trading.positions import decide_positions, wait_out_gaps
from agent_market.trading.signals import signals_of

FACTORS = load_factors("basic", {"momentum_rank": "cs_rank(pct_change(close, 24))"})
MODELS = {
    "ridge": {"adapter": "sklearn"},
    "trees": {"adapter": "lightgbm", "n_estimators": 30, "min_data_in_leaf": 50},
    "lstm": {"adapter": "torch", "network": "lstm", "epochs": 1, "seeds": 1, "hidden": 8, "lookback": 8, "chunk": 32},
}
POLICY = {
    "adapter": "stable_baselines3", "seeds": 2, "total_timesteps": 8192, "n_envs": 32, "n_steps": 32, "batch_size": 256,
}  # fmt: skip
LABELS = LabelOptions(horizons=(1, 12))
FOLDS = FoldOptions(train="30d", valid="5d", test="10d")
QUANTILE = {"rule": "quantile", "window": "8d", "min_history": 100}
BACKTESTS = {
    "ridge": BacktestOptions(positions=QUANTILE, max_open_trades=2),
    "trees": BacktestOptions(
        positions=QUANTILE | {"hold": 6, "target_volatility": 0.3, "volatility_window": 48},
        stoploss=-0.04,
        minimal_roi={0: 0.05, 1440: 0.01},
        trailing_stop=True,
        trailing_stop_positive=0.01,
        trailing_stop_positive_offset=0.02,
        leverage=2,
    ),
    "lstm": BacktestOptions(positions=QUANTILE, max_open_trades=2, stoploss=-0.1),
}


def walked(
    raw: pd.DataFrame,
    market: MarketOptions,
    model: str,
    *,
    windows: FoldOptions = FOLDS,
    backtest: BacktestOptions | None = None,
) -> SimpleNamespace:
    """What the pipeline makes of raw candles: `candles`, `predictions`, and the model as `traded`."""
    candles, _ = clean_candles(raw, market)
    how = {"timeframe": market.timeframe, "max_gap": market.max_gap}
    features = compute_factors(candles, FACTORS, **how)
    labels = build_labels(candles, LABELS, **how)
    folds = make_folds(candles["date"], windows, timeframe=market.timeframe)
    options = parse_model_options((MODELS | {"policy": POLICY})[model])
    training = TrainingOptions(n_jobs=1 if model == "policy" else -1)
    trained, predictions = walk_forward(features, FACTORS, labels, folds, options, training, candles=candles, **how)
    traded = TradedModel(
        name=model,
        model=trained,
        folds=folds,
        pairs=tuple(candles["pair"].cat.categories),
        market=market,
        backtest=backtest or BACKTESTS.get(model, BACKTESTS["ridge"]),
        empty_candles=False,
    )
    return SimpleNamespace(raw=raw, candles=candles, predictions=predictions, traded=traded)


def frames_until(raw: pd.DataFrame, date: pd.Timestamp) -> dict[str, pd.DataFrame]:
    """What a bot sees of hourly candles at a date, by pair: freqtrade has put stand-ins into the holes."""
    shown = {}
    for pair, rows in raw[raw["date"] <= date].groupby("pair", observed=True):
        filled = rows.drop(columns="pair").set_index("date").asfreq("h")
        filled["close"] = filled["close"].ffill()
        for name in ("open", "high", "low"):
            filled[name] = filled[name].fillna(filled["close"])
        shown[str(pair)] = filled.fillna({"volume": 0.0}).reset_index()
    return shown


def pipeline_signals(chain: SimpleNamespace) -> pd.DataFrame:
    """The signals that the backtest pipeline makes of a chain's predictions."""
    market, gaps = chain.traded.market, {"timeframe": "1h", "max_gap": chain.traded.market.max_gap}
    short = market.trading_mode == "futures"
    rule = chain.traded.backtest.positions
    decided = decide_positions(chain.predictions, rule, allow_short=short, candles=chain.candles, **gaps)
    return signals_of(wait_out_gaps(decided, **gaps))
