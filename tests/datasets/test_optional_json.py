import pytest
from kedro.io import DatasetError, Version

from agent_market.datasets import OptionalJSONDataset


def dataset(path, save=None):
    return OptionalJSONDataset(filepath=str(path), version=Version(None, save))


def test_what_was_not_stored_yet_is_none_and_what_was_is_there(tmp_path):
    path = tmp_path / "certificate.json"
    assert dataset(path).load() is None
    dataset(path, "2026-01-01T00.00.00.000Z").save({"passed": True})
    dataset(path, "2026-01-02T00.00.00.000Z").save({"passed": False})
    assert dataset(path).load() == {"passed": False}


def test_a_file_that_is_there_and_cannot_be_read_is_an_error(tmp_path):
    path = tmp_path / "certificate.json"
    dataset(path, "2026-01-01T00.00.00.000Z").save({"passed": True})
    (path / "2026-01-01T00.00.00.000Z" / "certificate.json").write_text("{")
    with pytest.raises(DatasetError, match="certificate"):
        dataset(path).load()
