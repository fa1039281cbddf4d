import logging
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from agent_market.adapters.torch.checkpoint import FILE
from agent_market.errors import ModelError

FORMS = [
    ("lstm", {}),
    ("mlp", {"ema": 0.9, "augment": {"noise": 0.1, "mixup": 0.2}, "training": "window"}),
    ("transformer", {"loss": "ic"}),
]
CHANGES = {"epochs": 4, "seeds": 2, "patience": 0}


class KilledError(Exception):
    """The end of a fit, from outside."""


def _at_report(number):
    count = iter(range(1, 1000))

    def report(progress):
        if next(count) == number:
            raise KilledError

    return report


def _same(first, second):
    pairs = zip(first.members, second.members, strict=True)
    return all(
        torch.equal(value, b.network.state_dict()[name]) and a.describe() == b.describe()
        for a, b in pairs
        for name, value in a.network.state_dict().items()
    )


@pytest.mark.parametrize(("network", "changes"), FORMS)
def test_an_interrupted_fit_ends_with_the_weights_of_an_undisturbed_one(fit_tiny, tmp_path, network, changes):
    changes = CHANGES | changes
    undisturbed = fit_tiny(network, **changes)
    for killed in (2, 4, 6):  # in the first member, after its last epoch, and in the second
        folder, seen = tmp_path / str(killed), []
        with pytest.raises(KilledError):
            fit_tiny(network, **changes, checkpoint=folder, report=_at_report(killed))
        resumed = fit_tiny(network, **changes, checkpoint=folder, report=lambda p, seen=seen: seen.append(p.step))
        assert seen == list(range(killed + 1, 9))
        assert _same(undisturbed, resumed)


def test_a_fit_that_had_ended_is_not_repeated(fit_tiny, tmp_path):
    first = fit_tiny("mlp", **CHANGES, checkpoint=tmp_path / "fit")
    seen = []
    assert _same(first, fit_tiny("mlp", **CHANGES, checkpoint=tmp_path / "fit", report=seen.append))
    assert seen == []


def test_a_warm_started_fit_resumes_as_well(fit_tiny, tmp_path):
    init = fit_tiny("gru", **CHANGES | {"epochs": 1})
    undisturbed = fit_tiny("gru", **CHANGES, warm_epochs=3, init=init)
    with pytest.raises(KilledError):
        fit_tiny("gru", **CHANGES, warm_epochs=3, init=init, checkpoint=tmp_path, report=_at_report(2))
    assert _same(undisturbed, fit_tiny("gru", **CHANGES, warm_epochs=3, init=init, checkpoint=tmp_path))


def test_a_network_of_ones_own_resumes_with_torch_s_own_dropout(fit_tiny, tmp_path, monkeypatch):
    (tmp_path / "dropping.py").write_text(
        "from torch import nn\n"
        "def network(n_features, n_outputs):\n"
        "    first = nn.Linear(8 * n_features, 8)\n"
        "    return nn.Sequential(nn.Flatten(), first, nn.Dropout(0.5), nn.Linear(8, n_outputs))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    undisturbed = fit_tiny("dropping.network", **CHANGES)
    with pytest.raises(KilledError):
        fit_tiny("dropping.network", **CHANGES, checkpoint=tmp_path / "fit", report=_at_report(2))
    assert _same(undisturbed, fit_tiny("dropping.network", **CHANGES, checkpoint=tmp_path / "fit"))


@pytest.mark.parametrize(("changes", "what"), [({"learning_rate": 0.02}, "options"), ({"seed": 5}, "options")])
def test_a_checkpoint_of_other_options_is_left_aside(fit_tiny, tmp_path, caplog, changes, what):
    with pytest.raises(KilledError):
        fit_tiny("mlp", **CHANGES, checkpoint=tmp_path, report=_at_report(2))
    with caplog.at_level(logging.WARNING):
        found = fit_tiny("mlp", **CHANGES | changes, checkpoint=tmp_path)
    assert f"is of other {what}: starting from the beginning" in caplog.text
    assert _same(found, fit_tiny("mlp", **CHANGES | changes))


def test_a_checkpoint_of_other_data_is_left_aside(fit_tiny, train, tmp_path, caplog):
    with pytest.raises(KilledError):
        fit_tiny("mlp", **CHANGES, checkpoint=tmp_path, report=_at_report(2))
    fit_tiny("mlp", **CHANGES, train=train.with_values(train.tensor.values + 1), checkpoint=tmp_path)
    assert "is of other features" in caplog.text


def test_a_damaged_checkpoint_is_an_error_and_a_half_written_one_is_not_looked_at(fit_tiny, tmp_path):
    (tmp_path / f"{FILE}.partial").write_bytes(b"half of it")
    fit_tiny("mlp", **CHANGES, checkpoint=tmp_path)
    (tmp_path / FILE).write_bytes(b"garbage")
    with pytest.raises(ModelError, match=r"fit\.safetensors cannot be read.*Delete it"):
        fit_tiny("mlp", **CHANGES, checkpoint=tmp_path)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import conftest
from agent_market.adapters.torch import fit
def report(progress):
    if progress.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
panel = conftest.make_panel()
train, valid = conftest.some(panel, 0, 300), conftest.some(panel, 310, 400)
options = conftest.tiny_options("lstm", epochs=4, seeds=2, patience=0)
fit(train, valid, options, report=report, checkpoint=Path({checkpoint!r}))
"""


def test_a_killed_process_is_resumed_by_another_one_to_the_same_weights(fit_tiny, tmp_path):
    code = KILLED.format(folder=str(Path(__file__).parent), checkpoint=str(tmp_path / "fit"))
    killed = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)})
    assert killed.returncode == -9
    seen = []
    resumed = fit_tiny("lstm", **CHANGES, checkpoint=tmp_path / "fit", report=lambda progress: seen.append(progress))
    assert [progress.step for progress in seen] == [7, 8]
    assert _same(fit_tiny("lstm", **CHANGES), resumed)
