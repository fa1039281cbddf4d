"""Results of freqtrade's backtests, as freqtrade writes them."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from agent_market.datasets.folder import FolderDataset

MODELS = "models.json"

OF_THE_MOMENT = {
    *("backtest_run_start_ts", "backtest_run_end_ts", "backtest_start_time", "run_id"),
    *("strategy_path", "signals"),
}
"""Keys in freqtrade's files that say when a backtest was made, or in which folder for the while."""


class FreqtradeArchiveDataset(FolderDataset):
    """A folder of freqtrade's results for each model, which freqtrade's own tools read, and `models.json` beside them.

    It is written beside its place and moved there whole, so that a crash leaves no half of a result behind.
    """

    CONTENTS = MODELS

    def load(self) -> dict[str, Path]:
        """The folder of each model: give it to `load_backtest_data`, or to `freqtrade backtesting-show`."""
        folder = Path(self._get_load_path())
        return {model: folder / model for model in json.loads((folder / MODELS).read_text())}

    def stand_ins(self, path: Path) -> dict[str, bytes]:
        """What makes two results equal: not when they were made, nor in which folder for the while."""
        found: dict[str, bytes] = {}
        for file in path.rglob("*"):
            name = file.relative_to(path).as_posix()
            if file.suffix == ".zip":
                with zipfile.ZipFile(file) as archive:
                    parts = ((part, archive.read(part)) for part in sorted(archive.namelist()))
                    found[name] = b"".join(part.encode() + _without_clock(part, content) for part, content in parts)
            elif file.name.endswith(".meta.json"):
                found[name] = _without_clock(name, file.read_bytes())
        return found

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


def _without_clock(name: str, content: bytes) -> bytes:
    """A file's content; of JSON, less what differs from run to run."""
    return json.dumps(_pruned(json.loads(content))).encode() if name.endswith(".json") else content


def _pruned(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _pruned(value) for name, value in tree.items() if name not in OF_THE_MOMENT}
    return [_pruned(value) for value in tree] if isinstance(tree, list) else tree
