import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from agent_market.adapters.torch import export_onnx, load, predict, save
from agent_market.adapters.torch.windows import PanelWindows
from agent_market.errors import ModelError

FORMS = [
    ("mlp", {"lookback": 4}),
    ("lstm", {"seeds": 2, "layers": 2}),
    ("gru", {"loss": "quantile"}),
    ("tcn", {"loss": "ic"}),
    ("transformer", {"seeds": 2}),
]


@pytest.mark.parametrize(("network", "changes"), FORMS)
def test_a_stored_model_predicts_the_same_and_holds_no_pickle(fit_tiny, valid, tmp_path, network, changes):
    model = fit_tiny(network, **{"epochs": 1} | changes)
    save(model, tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors", ".json"}
    again = load(tmp_path)
    assert again.options == model.options
    np.testing.assert_array_equal(predict(again, valid), predict(model, valid))
    facts = json.loads((tmp_path / "network.json").read_text())
    assert facts["trained_with"] == {"torch": torch.__version__, "device": "cpu", "threads": 1}
    assert len(facts["members"][0]["facts"]["history"]) == 1


def test_another_process_without_a_gpu_reads_a_model_of_one_with(fit_tiny, valid, tmp_path):
    model = fit_tiny("lstm", epochs=1)
    save(model, tmp_path)
    facts = json.loads((tmp_path / "network.json").read_text())
    facts["options"]["device"] = "cuda"
    (tmp_path / "network.json").write_text(json.dumps(facts))
    np.savez(tmp_path / "x.npz", x=PanelWindows(valid, 8).take(torch.from_numpy(valid.rows))["x"])
    code = (
        "import sys, numpy as np, torch\nfrom pathlib import Path\nfrom agent_market.adapters.torch import load\n"
        "folder = Path(sys.argv[1])\n"
        "model = load(folder)\n"
        "x = torch.from_numpy(np.load(folder / 'x.npz')['x']).to(model.device)\n"
        "with torch.no_grad():\n    np.save(folder / 'y.npy', model.members[0].network(x)[:, 0, 0].cpu())\n"
    )
    env = {"PYTHONPATH": ":".join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=env)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), predict(model, valid), atol=1e-6)


@pytest.mark.parametrize("file", ["network.json", "seed_0.safetensors"])
def test_a_missing_or_damaged_file_is_named(fit_tiny, tmp_path, file):
    save(fit_tiny("mlp", epochs=1), tmp_path)
    (tmp_path / file).write_text("{")
    with pytest.raises(ModelError, match=f"{file} cannot be read"):
        load(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(ModelError, match=f"{file} cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(("network", "changes"), FORMS)
def test_the_onnx_graph_says_what_predict_says(fit_tiny, valid, tmp_path, network, changes):
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'agent_market[onnx]'")
    import onnxruntime

    model = fit_tiny(network, **{"epochs": 1} | changes)
    export_onnx(model, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    windows = PanelWindows(valid, model.options.lookback).take(torch.from_numpy(valid.rows))["x"].numpy()
    for part in (slice(None), slice(0, 1)):
        (said,) = session.run(["prediction"], {"windows": windows[part]})
        np.testing.assert_allclose(said[:, 0], predict(model, valid)[part], atol=1e-5)


def test_an_export_without_its_packages_says_what_to_install(fit_tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"pip install 'agent_market\[onnx\]'"):
        export_onnx(fit_tiny("mlp", epochs=1), tmp_path / "model.onnx")
