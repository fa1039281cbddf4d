"""The report as a folder of pages."""

import shutil
from pathlib import Path, PurePosixPath

from kedro.io import DatasetError

from agent_market.datasets.folder import FolderDataset


class ReportDataset(FolderDataset):
    """Folder of text files, path below the folder → text, with `index.html` among them.

    It is written beside its place and moved there whole, so that a crash leaves no half of a report behind.
    """

    CONTENTS = "index.html"

    def load(self) -> dict[str, str]:
        """All files of the report."""
        folder = Path(self._get_load_path())
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in files}

    def save(self, data: dict[str, str]) -> None:
        """Write the report's folder."""
        if self.CONTENTS not in data:
            raise DatasetError(f"a report needs the page {self.CONTENTS}; it has {', '.join(sorted(data)) or 'none'}")
        outside = [name for name in data if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
        if outside:
            raise DatasetError(f"files of a report lie in its folder; {', '.join(outside)} would not")
        target = Path(self._get_save_path())
        draft = target.with_name(f".{target.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        for name, text in data.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        if target.exists():  # only without versions
            shutil.rmtree(target)
        draft.rename(target)
