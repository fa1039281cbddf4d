"""From the datasets that a run has left to a `user_data` folder of freqtrade."""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kedro.framework.session import KedroSession

from agent_market.configured import check_parameters
from agent_market.errors import DataError, ParameterError
from agent_market.live import TradedModel, export_user_data
from agent_market.live.export import MODELS, SNAPSHOT
from agent_market.live.freqai_config import freqai_config

INPUTS = ("folds", "candles", "market_snapshot")


def export_model(
    model: str, output: Path, *, version: str | None, data: bool, force: bool, env: str | None
) -> list[str]:
    """Export a configured model as a run left it; returns what there is to say: what to do next, and the limits.

    `version` is the timestamp of the run that trained the model. What that run took from earlier ones (candles, folds)
    is taken as it was then.

    Raises:
        ParameterError: There is no such model, or no such version of it.
        DataError: The model, or what it was made from, is not stored.
    """
    with KedroSession.create(env=env) as session:
        context = session.load_context()
        parameters = check_parameters(context.config_loader)
        name = _configured(model, list(parameters.models))
        funding = ["funding_rates"] if parameters.market.trading_mode == "futures" else []
        names = [f"{name}.model", f"{name}.predictions", *INPUTS, *funding]
        catalog = context._get_catalog()  # the one way to name versions, below, that Kedro has
        versions = _versions(catalog, names, version)
        catalog = context._get_catalog(load_versions=versions)
        stored = {part: catalog.load(part) for part in names}
    candles = stored["candles"]
    traded = TradedModel(
        name=name,
        model=stored[f"{name}.model"],
        folds=stored["folds"],
        pairs=tuple(sorted(candles["pair"].astype(str).unique())),
        market=parameters.market,
        backtest=parameters.backtest,
        empty_candles=_has_empty_candles(candles),
    )
    try:
        freqai = freqai_config(traded, labels=parameters.labels, training=parameters.training, folds=parameters.folds)
        without = []
    except ParameterError as error:
        freqai, without = None, [f"no files for FreqAI: {error}"]
    limits = export_user_data(
        output,
        traded,
        candles=candles,
        predictions=stored[f"{name}.predictions"],
        markets=stored["market_snapshot"],
        funding=stored.get("funding_rates"),
        freqai=freqai,
        data=data,
        force=force,
    )
    return _next_steps(traded, output, versions[f"{name}.model"], limits + without)


def _configured(model: str, known: list[str]) -> str:
    """The name of a configured model, without the namespace of its pipeline."""
    stage, _, name = model.rpartition(".")
    stages = ("", "ml_training", "dl_training", "rl_training", "ensemble")
    if name in known and stage in stages:
        return name
    close = get_close_matches(name, known, n=1) if stage in stages else []
    hint = f"did you mean {close[0]}?" if close else f"models: {', '.join(known)}"
    raise ParameterError(f"--model: no model is called {model!r} in the parameters; {hint}")


def _versions(catalog: Any, names: list[str], version: str | None) -> dict[str, str]:
    """The version of each dataset: that of the model's run, or the newest one before it."""
    chosen = {}
    for name in names:
        there = sorted(Path(path).parent.name for path in catalog[name]._get_versions())
        if not there:
            raise DataError(f"{name} is not stored: run the pipeline first (`kedro run`)")
        if not chosen and version is not None and version not in there:
            close = get_close_matches(version, there, n=1, cutoff=0.8)
            hint = f"did you mean {close[0]}?" if close else f"stored: {', '.join(there[-5:])}"
            raise ParameterError(f"--version: {name} has no version {version!r}; {hint}")
        wanted = chosen[names[0]] if chosen else version or there[-1]
        earlier = [found for found in there if found <= wanted]
        if not earlier:
            raise DataError(f"{name} is not stored as of {wanted}, when the model was trained; run the pipeline again")
        chosen[name] = earlier[-1]
    return chosen


def _has_empty_candles(candles: Any) -> bool:
    """Whether the source itself writes candles without trades, so that a bot must not take them for holes."""
    real = candles[~candles["filled"]]
    still = real["volume"].eq(0) & real["open"].eq(real["close"]) & real["high"].eq(real["low"])
    return bool(still.any())


def _next_steps(traded: TradedModel, output: Path, version: str, limits: list[str]) -> list[str]:
    snapshot = output / MODELS / traded.name / SNAPSHOT
    run = f"--userdir {output} --config {output / 'config.json'}"
    online = [f"  freqtrade backtesting {run} --cache none", f"  freqtrade trade --dry-run {run}"]
    if traded.market.source == "simulated":
        online = ["  (its pairs are invented: to trade, train on candles of an exchange)"]
    return [
        f"{traded.name} of {version} is in {output}. Next:",
        f"  python -m agent_market.trading.freqtrade_offline {snapshot} backtesting {run} --cache none   (no network)",
        *online,
        *(f"Note: {limit}." for limit in limits),
    ]
