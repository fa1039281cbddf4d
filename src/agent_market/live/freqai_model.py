"""The model that FreqAI trains: any adapter of this project, by freqtrade's `--freqaimodel AgentMarketRegressor`.

What FreqAI does to features and labels by itself (dropping rows with a hole, scaling, splitting at random, PCA, outlier
removal) is not done here: the model's own preprocessing, fitted to training rows, takes its place.
"""

import json
import logging
import shutil
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from freqtrade.exceptions import OperationalException
from freqtrade.freqai.data_drawer import FreqaiDataDrawer
from freqtrade.freqai.data_kitchen import FreqaiDataKitchen
from freqtrade.freqai.freqai_interface import IFreqaiModel
from pydantic import ValidationError

from agent_market.adapters import get_adapter, parse_model_options
from agent_market.errors import AgentMarketError
from agent_market.learning.fitting import silent
from agent_market.learning.labels import label_end_column
from agent_market.learning.model_folder import load_fold, save_fold
from agent_market.learning.samples import FeatureTensor
from agent_market.learning.trained import FoldModel
from agent_market.learning.walk_forward import Task, fit_fold
from agent_market.live.freqai_config import FreqaiSettings
from agent_market.options import timeframe_delta

log = logging.getLogger(__name__)

FACTS = "adapter.json"
LABEL_END = "label_end"
"""Column of the strategy's dataframe: at whose open the target is known. Without it: after label_period_candles."""


class AgentMarketRegressor(IFreqaiModel):
    """Trains and retrains an adapter for each pair and window, and foretells with it.

    `freqai.model_training_parameters` are the options of the model, as under `models` in this project's parameters:
    {"adapter": "lightgbm", …}. `freqai.agent_market` are `FreqaiSettings`. An unknown key in either is an error.

    The training window is cut in two by time where `valid` is set. Rows whose target is not known by the end of their
    part are left out. A training that fails ends a backtest with its reason; a bot logs it and goes on with the model
    before. Backtests use no model and no prediction of an earlier run. Models are stored in their library's own format.
    """

    def __init__(self, config: dict) -> None:
        freqai = config.get("freqai") or {}
        self.options = _checked("model_training_parameters", parse_model_options, freqai)
        self.settings = _checked("agent_market", FreqaiSettings.model_validate, freqai)
        super().__init__(config=config)
        self.dd = _ModelFolders(Path(self.full_path), self.config)
        self.CONV_WIDTH = getattr(self.options, "lookback", 1)
        self._failure: Exception | None = None

    def train(self, unfiltered_df: pd.DataFrame, pair: str, dk: FreqaiDataKitchen, **kwargs: Any) -> FoldModel:
        """The model of one pair's training window; what goes wrong is kept, because FreqAI lets it pass."""
        try:
            return self._train(unfiltered_df, pair, dk)
        except Exception as error:
            self._failure = error
            raise

    def _train(self, frame: pd.DataFrame, pair: str, dk: FreqaiDataKitchen) -> FoldModel:
        step = timeframe_delta(self.config["timeframe"])
        end = frame["date"].iloc[-1] + step if self.live else pd.Timestamp(self.training_timerange.stopdt)
        rows, tensor = self._tensor(frame, pair, dk)
        target = dk.label_list[0]
        labels = pd.DataFrame({"pair": tensor.pair, "date": tensor.date, target: frame[target].to_numpy(float)[rows]})
        labels[label_end_column(target)] = self._label_end(frame.iloc[rows], step).to_numpy()
        timeframe = self.config["timeframe"]
        task = Task(pair, tensor, labels, (target,), self.options, self.settings.training, timeframe)
        n_train, model = fit_fold(task, self._windows(frame["date"].iloc[0], end, step), silent)
        values = labels[target].dropna()
        dk.data["labels_mean"], dk.data["labels_std"] = {target: values.mean()}, {target: values.std(ddof=0)}
        log.info("%s: %s trained on %d rows up to %s", pair, self.options.adapter, n_train, end)
        return model

    def predict(
        self, unfiltered_df: pd.DataFrame, dk: FreqaiDataKitchen, **kwargs: Any
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Predictions of all rows, and which rows have any feature: the others are 0 and not to be used."""
        dk.find_features(unfiltered_df)
        rows, tensor = self._tensor(unfiltered_df, dk.pair, dk)
        values, known = np.zeros(len(unfiltered_df)), np.zeros(len(unfiltered_df), dtype=np.int_)
        if len(rows):
            values[rows] = self.model.predict(get_adapter(self.options.adapter), tensor, np.arange(len(rows)))
            known[rows] = 1
        dk.DI_values, dk.do_predict = np.zeros(len(unfiltered_df)), known
        return pd.DataFrame({dk.label_list[0]: values}), known

    def fit(self, data_dictionary: dict[str, Any], dk: FreqaiDataKitchen, **kwargs: Any) -> Any:
        """Not used: `train` does it all."""
        raise NotImplementedError("AgentMarketRegressor trains in `train`")

    def start_backtesting(self, dataframe: pd.DataFrame, metadata: dict, dk: FreqaiDataKitchen, strategy: Any) -> Any:
        """FreqAI's own backtest, without the predictions that an earlier one left: they may be of other candles."""
        for stale in Path(self.full_path).glob(f"{dk.backtest_predictions_folder}/*_{_coin(metadata['pair'])}_*"):
            stale.unlink()
        return super().start_backtesting(dataframe, metadata, dk, strategy)

    def model_exists(self, dk: FreqaiDataKitchen) -> bool:
        """Never in a backtest: what an earlier run stored may have been trained on other candles."""
        return False

    def _append_null_backtesting_predictions(self, dk: FreqaiDataKitchen, dataframe_backtest: pd.DataFrame) -> None:
        """Raise what the training raised, in place of going on with predictions of 0."""
        why = f"{type(self._failure).__name__}: {self._failure}"
        raise OperationalException(
            f"{self.options.adapter} could not be trained for {dk.pair}: {why}"
        ) from self._failure

    def _tensor(self, frame: pd.DataFrame, pair: str, dk: FreqaiDataKitchen) -> tuple[np.ndarray, FeatureTensor]:
        """Which rows of a frame have any feature, and the features of those."""
        values = frame[dk.training_features_list].to_numpy(np.float32)
        values = np.where(np.isfinite(values), values, np.nan)
        rows = np.flatnonzero(np.isfinite(values).any(axis=1))
        table = pd.DataFrame(values[rows], columns=dk.training_features_list)
        table.insert(0, "date", pd.DatetimeIndex(frame["date"].iloc[rows]).as_unit("ms"))
        table.insert(0, "pair", pd.Categorical([pair] * len(rows), [pair]))
        return rows, FeatureTensor.from_frame(table, timeframe=self.config["timeframe"])

    def _label_end(self, frame: pd.DataFrame, step: pd.Timedelta) -> pd.Series:
        if LABEL_END in frame:
            return frame[LABEL_END]
        return frame["date"] + (self.ft_params["label_period_candles"] + 1) * step

    def _windows(self, start: pd.Timestamp, end: pd.Timestamp, step: pd.Timedelta) -> dict[str, Any]:
        """The training and validation windows of a fold whose test window begins at `end`."""
        embargo = self.settings.embargo * step
        valid_end = end - embargo
        if self.settings.valid is None:
            return {"fold": 0, "train_start": start, "train_end": valid_end, "valid_start": end, "valid_end": end}
        valid_start = valid_end - timeframe_delta(self.settings.valid)
        train_end = valid_start - embargo
        return {
            "fold": 0,
            "train_start": start,
            "train_end": train_end,
            "valid_start": valid_start,
            "valid_end": valid_end,
        }


class _ModelFolders(FreqaiDataDrawer):
    """FreqAI's store of models, with folders in each library's own format in place of pickles."""

    def save_data(self, model: FoldModel, coin: str, dk: FreqaiDataKitchen) -> None:
        """Write the model beside FreqAI's metadata, and keep it in memory as FreqAI does."""
        self.save_metadata(dk)
        options = parse_model_options(self.freqai_info["model_training_parameters"])
        folder, draft = _folder(dk), _folder(dk).with_suffix(".draft")
        for old in (draft, folder):
            shutil.rmtree(old, ignore_errors=True)
        save_fold(get_adapter(options.adapter), model, draft)
        facts = {"fold": model.fold, "preprocessing": model.preprocessing is not None}
        facts |= {"target_scale": model.target_scale, "options": options.model_dump(mode="json")}
        (draft / FACTS).write_text(json.dumps(facts, indent=2))
        draft.rename(folder)
        self.model_dictionary[coin] = model
        self.pair_dict[coin] |= {"model_filename": dk.model_filename, "data_path": str(dk.data_path)}
        self.save_drawer_to_disk()

    def load_data(self, coin: str, dk: FreqaiDataKitchen) -> FoldModel | None:
        """The newest model of a pair, from memory or from its folder; None where there is none yet."""
        if not self.pair_dict[coin]["model_filename"]:
            return None
        if dk.live:
            dk.model_filename = self.pair_dict[coin]["model_filename"]
            dk.data_path = Path(self.pair_dict[coin]["data_path"])
        self.load_metadata(dk)
        if coin not in self.model_dictionary:
            facts = json.loads((_folder(dk) / FACTS).read_text())
            adapter = get_adapter(facts["options"]["adapter"])
            self.model_dictionary[coin] = load_fold(adapter, facts, _folder(dk))
        return self.model_dictionary[coin]


def _folder(dk: FreqaiDataKitchen) -> Path:
    return Path(dk.data_path) / f"{dk.model_filename}_model"


def _coin(pair: str) -> str:
    return pair.split("/")[0].lower()


def _checked(block: str, parse: Any, freqai: dict[str, Any]) -> Any:
    """Options of a block of freqtrade's configuration; the error names the key."""
    found = freqai.get(block, {})
    try:
        return parse(found)
    except AgentMarketError as error:
        raise OperationalException(f"freqai.{block}: {error}") from error
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            path = ".".join(str(part) for part in problem["loc"])
            known = _known_keys(block, found)
            close = get_close_matches(path, known, n=1) if problem["type"] == "extra_forbidden" else []
            lines.append(f"{path}: {problem['msg']}" + (f"; did you mean {close[0]}?" if close else ""))
        raise OperationalException(f"freqai.{block}: {'; '.join(lines)}") from error


def _known_keys(block: str, found: dict[str, Any]) -> list[str]:
    options = FreqaiSettings if block == "agent_market" else get_adapter(found["adapter"]).Options
    return list(options.model_fields)
