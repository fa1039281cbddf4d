"""Files of skops that are equal for equal objects."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can hold."""


def write_skops(fitted: Any, path: Path) -> None:
    """Write a scikit-learn object: no pickle.

    skops names parts by their addresses in memory and stamps them with the time; here they are numbered in the order in
    which they come, and the time is always the same.
    """
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(fitted))) as made:
        parts = {name: made.read(name) for name in made.namelist()}
    schema = parts.pop("schema.json").decode()
    numbers: dict[str, str] = {}
    for address in re.findall(r'"__id__": (\d+)', schema):
        numbers.setdefault(address, str(len(numbers) + 1))
    schema = re.sub(r'("__id__": )(\d+)', lambda found: found[1] + numbers[found[2]], schema)
    schema = re.sub(r'("file": ")(\d+)(?=\.)', lambda found: found[1] + numbers[found[2]], schema)
    named = {re.sub(r"^\d+(?=\.)", lambda found: numbers[found[0]], name): content for name, content in parts.items()}
    with zipfile.ZipFile(path, "w") as file:
        for name, content in [*sorted(named.items()), ("schema.json", schema.encode())]:
            file.writestr(zipfile.ZipInfo(name, EPOCH), content)
