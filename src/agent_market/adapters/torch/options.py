"""Parameters of a network and of its training; nothing here needs torch."""

import math
from difflib import get_close_matches
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from agent_market.adapters import ModelOptions
from agent_market.options import Options as Block

DEFAULTS: dict[str, dict[str, Any]] = {
    "mlp": {"lookback": 1, "hidden": 64, "layers": 2, "dropout": 0.2, "training": "window"},
    "lstm": {"lookback": 32, "hidden": 32, "layers": 1, "dropout": 0.2, "training": "chunked"},
    "gru": {"lookback": 32, "hidden": 32, "layers": 1, "dropout": 0.2, "training": "chunked"},
    "tcn": {
        "lookback": 32, "hidden": 32, "layers": None, "dropout": 0.4, "kernel": 3, "training": "chunked",
    },
    "transformer": {
        "lookback": 32, "hidden": 32, "layers": 2, "dropout": 0.3, "kernel": 3, "heads": 4,
        "training": "chunked",
    },
}  # fmt: skip
"""What each built-in network takes where the parameters say nothing."""

STRUCTURE = ("hidden", "layers", "dropout", "kernel", "heads")
"""What gives a built-in network its form; each takes those that stand in its `DEFAULTS`."""

Loss = Literal["auto", "mse", "huber", "ic", "bce", "quantile"]


class Augmentation(Block):
    """Random changes of training batches; all are off by default."""

    noise: float = Field(0.0, ge=0, description="standard deviation of Gaussian noise on the standardized features")
    feature_dropout: float = Field(
        0.0, ge=0, lt=1, description="share of features set to their mean, anew for every sequence"
    )
    time_mask: float = Field(
        0.0, ge=0, lt=1, description="share of candles set to the mean; never the last one of a sequence"
    )
    mixup: float = Field(0.0, ge=0, description="a of Beta(a, a), the share at which two sequences are mixed; 0 = off")


class Options(ModelOptions):
    """A network, its training and its device.

    Options that a network does not have are an error, and so is a `hidden`, … beside a network of your own: that
    takes `network_options`.
    """

    adapter: Literal["torch"] = "torch"
    preprocessing: tuple[Literal["impute", "clip", "standardize"], ...] = ("impute", "clip", "standardize")

    network: str = Field(
        "lstm",
        description="mlp, lstm, gru, tcn, transformer, or the dotted path of a torch.nn.Module or of a function that "
        "makes one from n_features, n_outputs and network_options",
    )
    network_options: dict[str, Any] = Field({}, description="keyword arguments of a network of your own")
    lookback: int = Field(32, ge=1, description="candles that a prediction sees, its own included; mlp: 1 by default")
    hidden: int | None = Field(None, ge=1, description="width: 64 for mlp, else 32")
    layers: int | None = Field(None, ge=1, description="depth: 2 for mlp and transformer, 1 for lstm and gru, tcn: fit")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="0.2 for mlp, lstm and gru, 0.3 for transformer, 0.4 for tcn"
    )
    kernel: int | None = Field(None, ge=2, description="tcn, transformer: candles that a convolution sees, 3")
    heads: int | None = Field(None, ge=1, description="transformer: attention heads, 4")

    loss: Loss = Field("auto", description="auto: mse for regression, bce for classification")
    quantiles: tuple[float, ...] = Field((0.1, 0.5, 0.9), description="loss=quantile: foretold; 0.5 is the prediction")
    huber_delta: float = Field(1.0, gt=0, description="loss=huber: beyond it errors count linearly, label deviations")
    aux_horizons: tuple[int, ...] = Field((), description="further labels.horizons learned beside training.horizon")

    training: Literal["window", "chunked"] = Field(
        "window",
        description="window: one label per window; chunked: one per candle of a chunk, after a burn-in of lookback - 1 "
        "candles, many times faster; the default of all built-in networks but mlp",
    )
    chunk: int = Field(128, ge=1, description="training=chunked: candles of a chunk")
    batch_size: int = Field(1024, ge=1, description="labels per step of the optimiser")
    batch: Literal["shuffled", "dates"] = Field(
        "shuffled", description="dates: all pairs at a date are in one batch; always so with loss=ic"
    )
    augment: Augmentation | str = Field(
        Augmentation(),
        description="built-in augmentations, or the dotted path of a function (batch, generator) -> batch",
    )
    collate_fn: str | None = Field(
        None, description="dotted path of a function batch -> batch, applied first; it may keep no `x` beyond the batch"
    )

    epochs: int = Field(30, ge=1, description="most passes over the training rows")
    warm_epochs: int | None = Field(None, ge=1, description="the same where a fold goes on from the one before")
    patience: int = Field(5, ge=0, description="epochs without a better validation before a fit ends; 0 = never")
    monitor: Literal["ic", "loss"] = Field("ic", description="what is better on the validation rows")
    learning_rate: float = Field(1e-3, gt=0, description="peak of AdamW's rate")
    weight_decay: float = Field(1e-2, ge=0)
    warm_up: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate rises, then a cosine")
    clip_norm: float | None = Field(1.0, gt=0, description="largest norm of a gradient; null = any")
    ema: float = Field(0.0, ge=0, lt=1, description="decay per step of averaged weights, such as 0.99; 0 = off")
    seeds: int = Field(3, ge=1, description="networks trained from seed, seed + 1, …, and averaged")

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: the GPU if there is one")
    amp: Literal["auto"] | bool = Field("auto", description="bfloat16 autocast; auto: on a GPU; never on a CPU")
    compile: Literal["auto"] | bool = Field(
        False, description="torch.compile; auto: on a GPU, but for lstm and gru; never on a CPU"
    )
    threads: int = Field(1, ge=1, description="processor threads of one fit; folds run side by side anyway")

    @property
    def is_built_in(self) -> bool:
        """Whether the network is one of ours."""
        return self.network in DEFAULTS

    @property
    def outputs_per_label(self) -> int:
        """How many numbers the network gives for each label."""
        return len(self.quantiles) if self.loss == "quantile" else 1

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, block: Any) -> Any:
        if not isinstance(block, dict):
            return block
        filled = dict(block)
        for name, value in DEFAULTS.get(str(block.get("network", "lstm")), {}).items():
            if filled.get(name) is None:
                filled[name] = value
        if filled.get("loss", "auto") == "auto":
            filled["loss"] = "bce" if filled.get("task") == "classification" else "mse"
        if filled["loss"] == "ic":
            filled["batch"] = "dates"
        return filled

    @model_validator(mode="after")
    def _network_is_known(self) -> Self:
        if not self.is_built_in and "." not in self.network:
            close = get_close_matches(self.network, DEFAULTS, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise ValueError(
                f"unknown network {self.network!r}.{hint} Known: {', '.join(DEFAULTS)}, or the dotted path of a "
                "torch.nn.Module"
            )
        if self.is_built_in and self.network_options:
            raise ValueError(f"network_options are for a network of your own; {self.network} takes {self._takes()}")
        given = [name for name in STRUCTURE if getattr(self, name) is not None]
        if unknown := [name for name in given if name not in DEFAULTS.get(self.network, {})]:
            raise ValueError(f"{', '.join(unknown)}: network {self.network} takes {self._takes()}")
        return self

    @model_validator(mode="after")
    def _form_is_possible(self) -> Self:
        if self.network == "transformer":
            if self.hidden % self.heads:
                raise ValueError(f"hidden ({self.hidden}) must be a multiple of heads ({self.heads})")
            needed = self.layers + self.kernel
            if self.lookback < needed:
                raise ValueError(
                    f"a transformer of {self.layers} layers with a kernel of {self.kernel} needs a lookback of "
                    f"{needed} candles or more, not {self.lookback}"
                )
        if self.network == "tcn":
            needed = 1 + (self.kernel - 1) * (2 ** (self.layers or 1) - 1)
            if needed > self.lookback:
                raise ValueError(
                    f"{self.layers or 1} layers with a kernel of {self.kernel} see {needed} candles, more than "
                    f"lookback ({self.lookback}): raise lookback, or lower layers or kernel"
                )
        return self

    @model_validator(mode="after")
    def _loss_fits(self) -> Self:
        if (self.task == "classification") != (self.loss == "bce"):
            raise ValueError(f"loss {self.loss} does not fit task {self.task}: classification takes bce, and only it")
        if self.loss == "quantile":
            q = self.quantiles
            if 0.5 not in q or list(q) != sorted(set(q)) or not 0 < q[0] <= q[-1] < 1:
                raise ValueError(f"quantiles {q} must rise within (0, 1), and 0.5, the prediction, must be among them")
        if self.loss == "ic" and isinstance(self.augment, Augmentation) and self.augment.mixup:
            raise ValueError("loss ic compares rows of one date, which augment.mixup blends with others: choose one")
        return self

    def _takes(self) -> str:
        own = [name for name in STRUCTURE if name in DEFAULTS.get(self.network, {})]
        return ", ".join(["lookback", *own] if own else ["lookback and network_options"])


def tcn_layers(options: Options) -> int:
    """Layers of a TCN: as given, or as many as doubling dilations fit into the look-back."""
    fit = math.floor(math.log2((options.lookback - 1) / (options.kernel - 1) + 1))
    return options.layers or max(1, fit)
