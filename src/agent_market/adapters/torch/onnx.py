"""An ensemble as one ONNX graph, to be served without torch."""

import copy
import warnings
from pathlib import Path

import torch
from torch import nn

from agent_market.adapters.torch.ensemble import Ensemble
from agent_market.adapters.torch.loop import point
from agent_market.errors import ModelError


class _Average(nn.Module):
    """Windows (b, lookback, n_features) in, the mean of the members' predictions (b, n_labels) out."""

    def __init__(self, model: Ensemble) -> None:
        super().__init__()
        self.options, self.n_outputs = model.options, model.n_outputs
        self.networks = nn.ModuleList([copy.deepcopy(member.network).cpu().eval() for member in model.members])
        self.register_buffer("slope", torch.tensor([member.slope for member in model.members]))
        self.register_buffer("intercept", torch.tensor([member.intercept for member in model.members]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        said = [
            point(network(x).reshape(-1, self.n_outputs), self.options) * slope + intercept
            for network, slope, intercept in zip(self.networks, self.slope, self.intercept, strict=True)
        ]
        return torch.stack(said).mean(0)


def export_ensemble(model: Ensemble, path: Path) -> None:
    """Write the graph `windows` (batch, lookback, n_features) float32 -> `prediction` (batch, n_labels).

    Windows hold features after the model's preprocessing, oldest candle first, zeros before the first one there is;
    predictions are what `predict` says of each window's last candle, before they are scaled back to returns.

    Raises:
        ModelError: The package `onnx` is not installed.
    """
    try:
        import onnx  # noqa: F401 - torch's exporter needs it
    except ImportError as error:
        raise ModelError(f"export to ONNX needs {error.name}: pip install 'agent_market[onnx]'") from error
    windows = torch.zeros((2, model.options.lookback, model.n_features))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's advice to itself
        torch.onnx.export(
            _Average(model).eval(),
            (windows,),
            path,
            input_names=["windows"],
            output_names=["prediction"],
            dynamic_axes={"windows": {0: "batch"}, "prediction": {0: "batch"}},
            dynamo=False,  # the other exporter needs onnxscript, and takes seconds
        )
