"""A trained model with all that turns candles into signals, the way the pipeline does, and its folder."""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from agent_market.errors import DataError, ModelError
from agent_market.factors import compute_factors
from agent_market.learning.folds import COLUMNS as FOLD_COLUMNS
from agent_market.learning.model_folder import load_model, save_model
from agent_market.learning.samples import FeatureTensor
from agent_market.learning.trained import TrainedModel
from agent_market.market.candles import clean_candles
from agent_market.market.options import MarketOptions
from agent_market.source import code_fingerprint
from agent_market.trading.options import BacktestOptions
from agent_market.trading.positions import decide_positions, wait_out_gaps
from agent_market.trading.signals import SIGNALS, signals_of

log = logging.getLogger(__name__)

FACTS = "trading.json"
MODEL = "model"
CLEANING = ("timeframe", "trading_mode", "trading_days", "max_fill", "max_gap", "on_duplicates")
CANDLE = ["open", "high", "low", "close", "volume"]


@dataclass(frozen=True)
class TradedModel:
    """A model that has been walked forward, and what turns candles into its signals.

    folds: the calendar that it was trained on. pairs: those whose candles its features are made of.
    market: how candles are cleaned; where they come from is not this object's concern.
    empty_candles: whether the source writes candles in which nothing was traded, in place of leaving them out.
    """

    name: str
    model: TrainedModel
    folds: pd.DataFrame
    pairs: tuple[str, ...]
    market: MarketOptions
    backtest: BacktestOptions
    empty_candles: bool = True

    def __post_init__(self) -> None:
        ours, theirs = [part.fold for part in self.model.folds], self.folds["fold"].tolist()
        if ours != theirs:
            raise ModelError(
                f"{self.name}: the model has the folds {ours}, the dataset `folds` has {theirs}: they come from "
                "different runs. Train the model again, or name the run with --version."
            )
        for name in ("timeframe", "max_gap"):
            was, now = getattr(self.model, name), getattr(self.market, name)
            if was != now:
                raise ModelError(
                    f"{self.name} was trained with market.{name}={was}, and market.{name} is {now} now: set it back, "
                    "or train the model again"
                )

    @property
    def factors(self) -> dict[str, str]:
        """Expression of each feature."""
        return self.model.factors

    def clean(self, raw: pd.DataFrame) -> pd.DataFrame:
        """Candles of the model's pairs, cleaned as the pipeline cleans them: pair, date, prices, volume, filled."""
        known = raw[raw["pair"].isin(self.pairs)]
        if known.empty:
            raise DataError(f"there are no candles of the pairs that {self.name} knows: {', '.join(self.pairs)}")
        return clean_candles(known, self.market)[0]

    def features(self, candles: pd.DataFrame) -> pd.DataFrame:
        """One float32 column per factor, known at the close of each candle."""
        how = {"timeframe": self.market.timeframe, "max_gap": self.market.max_gap, "compat": self.model.compat}
        return compute_factors(candles, self.factors, check=False, **how)

    def predict(self, features: pd.DataFrame) -> pd.DataFrame:
        """Predictions, each by the model of the fold whose test window holds its candle.

        A candle before the first test window has none; after the last, the newest model foretells. Columns pair, date,
        fold, prediction, kind, as in the dataset `<model>.predictions`.
        """
        tensor = FeatureTensor.from_frame(features, timeframe=self.market.timeframe, max_gap=self.market.max_gap)
        starts = self.folds["test_start"].to_numpy()
        window = np.searchsorted(starts, features["date"].to_numpy(), side="right") - 1
        known = np.isfinite(tensor.values).any(axis=1)
        adapter, fold, prediction = self.model.adapter, np.full(len(features), -1), np.full(len(features), np.nan)
        for number, part in enumerate(self.model.folds):
            rows = np.flatnonzero((window == number) & known)
            if len(rows):
                fold[rows], prediction[rows] = part.fold, part.predict(adapter, tensor, rows)
        table = features[["pair", "date"]].assign(fold=fold, prediction=prediction, kind=self.model.kind)
        return table[(window >= 0) & known].reset_index(drop=True)

    def positions(self, predictions: pd.DataFrame, candles: pd.DataFrame) -> pd.DataFrame:
        """The position that the configured rule makes of predictions: pair, date, position in [-1, 1]."""
        gaps = {"timeframe": self.market.timeframe, "max_gap": self.market.max_gap}
        decided = decide_positions(
            predictions,
            self.backtest.positions,
            allow_short=self.market.trading_mode == "futures",
            candles=candles,
            trading_days=self.market.trading_days,
            **gaps,
        )
        return wait_out_gaps(decided, **gaps)

    def signals(self, raw: pd.DataFrame) -> pd.DataFrame:
        """All of it at once: the signals of raw candles, as `signals_of` has them."""
        candles = self.clean(raw)
        return signals_or_none(self.positions(self.predict(self.features(candles)), candles))

    def fingerprint(self) -> str:
        """A short hash of what decides the signals: equal for equal models, rules and cleaning."""
        said = json.dumps([self.model.describe(), self.describe()], sort_keys=True, default=str)
        return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()

    def describe(self) -> dict[str, Any]:
        """All but the model itself, JSON-ready."""
        folds = self.folds[list(FOLD_COLUMNS)]
        times = {name: folds[name].map(pd.Timestamp.isoformat) for name in FOLD_COLUMNS[1:]}
        return {
            "name": self.name,
            "pairs": list(self.pairs),
            "market": {name: getattr(self.market, name) for name in CLEANING},
            "empty_candles": self.empty_candles,
            "backtest": self.backtest.model_dump(mode="json"),
            "folds": folds.assign(**times).to_dict("records"),
        }


def signals_or_none(positions: pd.DataFrame) -> pd.DataFrame:
    """`signals_of`, which wants at least one position; of none, no signals."""
    if positions.empty:
        return pd.DataFrame({"pair": [], "date": [], **{name: [] for name in SIGNALS}, "size": []})
    return signals_of(positions)


def save_traded_model(traded: TradedModel, folder: Path) -> None:
    """Write a new folder: `trading.json`, and the model in `model/`."""
    folder.mkdir(parents=True)
    save_model(traded.model, folder / MODEL)
    facts = traded.describe() | {"code": code_fingerprint()}
    (folder / FACTS).write_text(json.dumps(facts, indent=2))


def load_traded_model(folder: Path) -> TradedModel:
    """What `save_traded_model` wrote; logs a warning where this package is not the one that wrote it, and where it is a
    policy that did not pass its go-live gate.

    Raises:
        ModelError: There is no such folder, or it is not whole.
    """
    if not (folder / FACTS).is_file():
        raise ModelError(f"{folder} is no exported model: it lacks {FACTS}; write it with `kedro freqtrade export`")
    facts = json.loads((folder / FACTS).read_text())
    if facts["code"] != code_fingerprint():
        log.warning("agent_market has changed since %s was exported; export it again to be sure", facts["name"])
    model = load_model(folder / MODEL)
    if model.gate is not None and not model.gate["passed"]:
        log.warning("%s did not pass its go-live gate: %s", facts["name"], "; ".join(model.gate["reasons"]))
    folds = pd.DataFrame(facts["folds"], columns=list(FOLD_COLUMNS))
    times = {name: pd.to_datetime(folds[name], utc=True).dt.as_unit("ms") for name in FOLD_COLUMNS[1:]}
    return TradedModel(
        name=facts["name"],
        model=model,
        folds=folds.assign(**times),
        pairs=tuple(facts["pairs"]),
        market=MarketOptions(source="freqtrade_datadir", datadir="data", **facts["market"]),
        backtest=BacktestOptions.model_validate(facts["backtest"]),
        empty_candles=facts["empty_candles"],
    )
