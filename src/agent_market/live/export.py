"""The `user_data` folder with which freqtrade backtests and trades a trained model."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from agent_market.errors import DataError, ModelError, ParameterError
from agent_market.live.history import history_needed, say_limits
from agent_market.live.traded import TradedModel, save_traded_model
from agent_market.trading.freqtrade_files import freqtrade_config, write_candles

MODELS = "agent_market"
SNAPSHOT = "market_snapshot.json"
TOLERANCE = 1e-6  # of a prediction, relative: float32 rounding

FREQAI_MODEL_FILE = '''"""The model that FreqAI trains; everything it does is said in its base class."""

from agent_market.live import freqai_model


class {name}(freqai_model.{name}):
    """Any adapter of agent_market."""
'''

STRATEGY = '''"""Trades the model `{model}` that `kedro freqtrade export` wrote to `{models}/{model}` beside this."""

from agent_market.live.{module} import {base}


class {name}({base}):
    """Signals of the model `{model}`; everything it does is said in its base class."""

    model = "{model}"
    timeframe = "{timeframe}"
    startup_candle_count = {startup}
'''


def strategy_name(model: str, kind: str = "Strategy") -> str:
    """The class of a model's strategy: `LightgbmUpStrategy` of `lightgbm_up`."""
    return "".join(part.capitalize() for part in model.split("_")) + kind


def export_user_data(
    folder: Path,
    traded: TradedModel,
    *,
    candles: pd.DataFrame,
    predictions: pd.DataFrame,
    markets: dict[str, dict],
    funding: pd.DataFrame | None = None,
    freqai: dict[str, Any] | None = None,
    data: bool = True,
    force: bool = False,
) -> list[str]:
    """Write strategy, configuration, model and (with `data`) candles; returns what the bot cannot promise.

    With `freqai`, made by `freqai_config`, also freqai.json and the strategy and model class that FreqAI needs.

    The folder may be freqtrade's own with other things in it, which stay. `candles` and `predictions` are those of the
    run that trained the model: what is exported must make the same predictions of them, or nothing is written. The
    configuration's `timerange` is the span of the predictions, so that a backtest is the pipeline's. The exchange is
    `market.exchange`, with `market.exchange_options`.

    Raises:
        ParameterError: Without `force`: a file to be written is there, or the model is a policy that did not pass its
            go-live gate. The exchange is unknown.
        ModelError: What would be exported makes other predictions than the pipeline stored.
    """
    unfit = _unfit(traded)
    if unfit and not force:
        raise ParameterError(f"{unfit}. Train it longer or on other features; --force exports it all the same")
    positions = _checked_positions(traded, candles, predictions)
    startup = min(history_needed(traded), _longest_startup(traded))
    config = live_config(traded, start=positions["date"].min(), end=positions["date"].max())
    with _draft(folder) as draft:
        _write_strategy(draft, traded, startup, "strategy", "ModelStrategy", strategy_name(traded.name))
        if freqai is not None:
            _write_freqai(draft, traded, freqai)
        save_traded_model(traded, draft / MODELS / traded.name)
        (draft / MODELS / traded.name / SNAPSHOT).write_text(json.dumps(markets))
        if data:
            how = {"timeframe": traded.market.timeframe, "trading_mode": traded.market.trading_mode}
            write_candles(draft / "data" / traded.market.exchange, candles, funding, **how)
        (draft / "config.json").write_text(json.dumps(config, indent=2))
        _install(draft, folder, [MODELS + "/" + traded.name], force=force)
    return [*([f"{unfit}; it was forced"] if unfit else []), *say_limits(traded, startup)]


def _unfit(traded: TradedModel) -> str | None:
    """Why a policy, or an ensemble that heeds one, should not trade; None where it passed, or there is no policy."""
    if traded.model.gate is None:
        policy = traded.model.kind == "position"
        return f"{traded.name} is a policy that no go-live gate has judged" if policy else None
    if traded.model.gate["passed"]:
        return None
    return f"{traded.name} did not pass the go-live gate: {'; '.join(traded.model.gate['reasons'])}"


def live_config(traded: TradedModel, *, start: pd.Timestamp, end: pd.Timestamp) -> dict[str, Any]:
    """freqtrade's configuration for backtests from `start` to `end` and for dry runs; it holds no secrets."""
    market = traded.market
    how = {"timeframe": traded.market.timeframe, "trading_mode": traded.market.trading_mode}
    config = freqtrade_config(Path(), list(traded.pairs), traded.backtest, **how)
    for of_backtests_only in ("strategy_path", "export", "backtest_cache"):
        del config[of_backtests_only]
    pricing = {"price_side": "other", "use_order_book": True, "order_book_top": 1}  # what market orders ask for
    return config | {
        "bot_name": f"agent_market {traded.name}",
        "strategy": strategy_name(traded.name),
        "agent_market": {"leverage": traded.backtest.leverage, "fingerprint": traded.fingerprint()},
        "timerange": f"{int(start.timestamp())}-{int(end.timestamp())}",
        "entry_pricing": pricing,
        "exit_pricing": pricing,
        "order_types": {
            **dict.fromkeys(("entry", "exit", "emergency_exit", "force_entry", "force_exit", "stoploss"), "market"),
            "stoploss_on_exchange": False,
        },
        "exchange": config["exchange"] | market.exchange_options | {"name": market.exchange},
        "initial_state": "running",
        "internals": {"process_throttle_secs": 5},
    }


def _checked_positions(traded: TradedModel, candles: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """The pipeline's positions, of predictions that the exported model has been seen to make as well."""
    found = traded.predict(traded.features(candles))
    both = predictions.merge(found, on=["pair", "date"], suffixes=("", "_exported"), how="left")
    gap = (both["prediction"] - both["prediction_exported"]).abs()
    near = gap <= TOLERANCE * both["prediction"].abs().max()
    if not (near | (both["prediction"].isna() & both["prediction_exported"].isna())).all():
        raise ModelError(
            f"{traded.name}: {(~near).sum()} of {len(both)} stored predictions are not those that the model makes of "
            f"the stored candles (largest difference {gap.max():g}): model, candles and predictions come from "
            "different runs or versions of the code. Run the pipeline again, then export."
        )
    return traded.positions(predictions, candles)


def _longest_startup(traded: TradedModel) -> int:
    """Candles that freqtrade lets a starting bot ask the exchange for."""
    import ccxt
    from freqtrade.enums import CandleType, RunMode
    from freqtrade.resolvers import ExchangeResolver

    exchange = traded.market.exchange
    if exchange not in ccxt.exchanges:
        close = get_close_matches(exchange, ccxt.exchanges, n=1)
        raise ParameterError(
            f"market.exchange is {exchange!r}, which ccxt does not know"
            + (f"; did you mean {close[0]}?" if close else "")
        )
    futures = traded.market.trading_mode == "futures"
    config = {
        "dry_run": True,
        "runmode": RunMode.UTIL_EXCHANGE,
        "exchange": {"name": exchange},
        "stake_currency": traded.backtest.stake_currency,
        "trading_mode": traded.market.trading_mode,
        "margin_mode": "isolated" if futures else "",
    }
    known = ExchangeResolver.load_exchange(config, validate=False)
    try:
        limit = known.ohlcv_candle_limit(traded.market.timeframe, CandleType.FUTURES if futures else CandleType.SPOT)
        return limit * (5 if known.get_option("ohlcv_has_history") else 1) - 1
    finally:
        known.close()


def _write_strategy(draft: Path, traded: TradedModel, startup: int, module: str, base: str, name: str) -> None:
    about = {"model": traded.name, "models": MODELS, "timeframe": traded.market.timeframe, "startup": startup}
    (draft / "strategies").mkdir(exist_ok=True)
    text = STRATEGY.format(name=name, module=module, base=base, **about)
    (draft / "strategies" / f"{name}.py").write_text(text)


def _write_freqai(draft: Path, traded: TradedModel, freqai: dict[str, Any]) -> None:
    name = strategy_name(traded.name, "FreqaiStrategy")
    _write_strategy(draft, traded, 0, "freqai_strategy", "FreqaiModelStrategy", name)
    (draft / "freqai.json").write_text(json.dumps(freqai | {"strategy": name}, indent=2))
    (draft / "freqaimodels").mkdir()
    text = FREQAI_MODEL_FILE.format(name=freqai["freqaimodel"])
    (draft / "freqaimodels" / f"{freqai['freqaimodel']}.py").write_text(text)


@contextmanager
def _draft(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, gone afterwards."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _install(draft: Path, folder: Path, whole: list[str], *, force: bool) -> None:
    """Move all files of the draft into place, the folders `whole` as wholes; the configuration comes last."""
    if not folder.exists():
        draft.rename(folder)
        return
    if not folder.is_dir():
        raise DataError(f"{folder} is a file; give a folder with --output")
    files = [path for path in sorted(draft.rglob("*")) if path.is_file()]
    names = [path.relative_to(draft).as_posix() for path in files]
    names = [*whole, *(name for name in names if not name.startswith(tuple(f"{part}/" for part in whole)))]
    there = [name for name in names if (folder / name).exists()]
    if there and not force:
        raise ParameterError(
            f"{folder} has {', '.join(there[:3])}{f' and {len(there) - 3} more' * (len(there) > 3)} already; replace "
            "them with --force (other files stay), or write elsewhere with --output"
        )
    for name in sorted(names, key=lambda name: name == "config.json"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            target.rename(draft / "replaced")
        (draft / name).replace(target)
