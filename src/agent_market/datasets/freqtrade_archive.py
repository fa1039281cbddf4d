"""Results of freqtrade's backtests, as freqtrade writes them."""

import json
import shutil
from pathlib import Path

from agent_market.datasets.folder import FolderDataset

MODELS = "models.json"


class FreqtradeArchiveDataset(FolderDataset):
    """A folder of freqtrade's results for each model, which freqtrade's own tools read, and `models.json` beside them.

    It is written beside its place and moved there whole, so that a crash leaves no half of a result behind.
    """

    CONTENTS = MODELS

    def load(self) -> dict[str, Path]:
        """The folder of each model: give it to `load_backtest_data`, or to `freqtrade backtesting-show`."""
        folder = Path(self._get_load_path())
        return {model: folder / model for model in json.loads((folder / MODELS).read_text())}

    def save(self, data: dict[str, dict[str, bytes]]) -> None:
        """Write the files of each model, by model and file name."""
        target = Path(self._get_save_path())
        draft = target.with_name(f".{target.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for model, files in data.items():
            (draft / model).mkdir()
            for name, content in files.items():
                (draft / model / name).write_bytes(content)
        (draft / MODELS).write_text(json.dumps(list(data)))
        if target.exists():  # only without versions
            shutil.rmtree(target)
        draft.rename(target)
