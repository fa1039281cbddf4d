"""Datasets of factor mining: the ledger, and the key that no file holds."""

import pytest
from kedro.config import OmegaConfigLoader
from kedro.io import DatasetError

from agent_market import configured
from agent_market.datasets import CredentialDataset, LedgerDataset

ROUND = {"kind": "round", "round": 1, "trials": ["a"], "tested": [], "accepted": []}


def test_each_save_adds_a_line(tmp_path):
    dataset = LedgerDataset(filepath=str(tmp_path / "ledger.jsonl"))
    assert not dataset.exists()
    assert dataset.load() == []
    dataset.save(ROUND)
    dataset.save(ROUND | {"round": 2})
    assert [record["round"] for record in dataset.load()] == [1, 2]


def ledger_of(tmp_path, rounds: int) -> LedgerDataset:
    dataset = LedgerDataset(filepath=str(tmp_path / "ledger.jsonl"))
    for number in range(1, rounds + 1):
        dataset.save(ROUND | {"round": number})
    return dataset


def test_a_round_that_is_gone_on_with_adds_no_second_line(tmp_path):
    dataset = ledger_of(tmp_path, 2)
    before = (tmp_path / "ledger.jsonl").read_bytes()
    dataset.save(ROUND)
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    dataset.save(ROUND | {"trials": ["b"]})
    assert len(dataset.load()) == 3


def test_a_view_of_the_ledger_can_be_pinned(tmp_path):
    dataset = ledger_of(tmp_path, 3)
    assert dataset.upto is None
    dataset.upto = 1
    assert [record["round"] for record in dataset.load()] == [1]
    dataset.save(ROUND | {"round": 4})
    assert [record["round"] for record in dataset.load()] == [1]
    dataset.upto = 0
    assert dataset.load() == []
    dataset.upto = None
    assert [record["round"] for record in dataset.load()] == [1, 2, 3, 4]


def test_a_pinned_view_of_lost_lines_is_an_error(tmp_path):
    dataset = ledger_of(tmp_path, 2)
    dataset.upto = 3
    with pytest.raises(DatasetError, match="2 records found, and the first 3 are asked for"):
        dataset.load()


def test_the_fingerprint_is_of_the_records_that_are_seen(tmp_path):
    dataset = ledger_of(tmp_path, 2)
    two = dataset.fingerprint()
    assert two == ledger_of(tmp_path, 2).fingerprint()
    dataset.save(ROUND | {"round": 3})
    assert dataset.fingerprint() != two
    dataset.upto = 2
    assert dataset.fingerprint() == two
    empty = LedgerDataset(filepath=str(tmp_path / "none.jsonl"))
    dataset.upto = 0
    assert dataset.fingerprint() == empty.fingerprint() != two


@pytest.fixture
def key(tmp_path, monkeypatch):
    """A dataset of the key, with what is written into credentials.yml."""
    monkeypatch.delenv("SOME_KEY", raising=False)

    def make(text: str = "") -> CredentialDataset:
        for folder in ("base", "local"):
            (tmp_path / folder).mkdir(exist_ok=True)
        if text:
            (tmp_path / "local" / "credentials.yml").write_text(text)
        loader = OmegaConfigLoader(str(tmp_path), base_env="base", default_run_env="local")
        monkeypatch.setattr(configured, "_loader", loader)
        return CredentialDataset(service="llm", variable="SOME_KEY")

    return make


def test_the_key_comes_from_the_file_or_the_environment(key, monkeypatch):
    assert not key().load()
    assert key("llm: {api_key: abc}").load().value == "abc"
    monkeypatch.setenv("SOME_KEY", "def")
    assert key("llm: {api_key: abc}").load().value == "def"
    assert key().load().value == "def"


def test_a_block_of_another_form_is_an_error(key):
    with pytest.raises(DatasetError, match=r"llm must be of the form \{api_key: …\}"):
        key("llm: {token: abc}").load()


def test_the_key_is_not_saved_and_not_described(key, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "def-secret")
    dataset = key()
    with pytest.raises(DatasetError, match="not stored"):
        dataset.save(dataset.load())
    assert "def-secret" not in str(dataset) + repr(dataset.load())
