"""Networks of one shape: x (b, lookback - 1 + p, n_features) in, one row of outputs for each of the last p candles out.

With p = 1 that is a window and its one prediction, with more it is a chunk and a prediction per candle. An MLP, a TCN
and a transformer see exactly `lookback` candles for each of them, so that both ways give the same numbers.
"""

import importlib
import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from agent_market.adapters.torch.options import Options, tcn_layers
from agent_market.errors import ModelError, ParameterError

EXACT = ("mlp", "tcn", "transformer")
"""Networks whose prediction in a chunk is that of the window; an LSTM in a chunk remembers what lies before it."""


def build_network(options: Options, n_features: int, n_outputs: int) -> nn.Module:
    """An untrained network of the options' form.

    Raises:
        ParameterError: A network of your own cannot be imported.
        ModelError: It cannot be made with the given arguments.
    """
    build = {"mlp": Mlp, "lstm": Recurrent, "gru": Recurrent, "tcn": Tcn, "transformer": Transformer}
    if options.is_built_in:
        return build[options.network](options, n_features, n_outputs)
    factory = import_function(options.network, "network")
    try:
        network = factory(n_features=n_features, n_outputs=n_outputs, **options.network_options)
    except TypeError as error:
        raise ModelError(
            f"network {options.network} cannot be made with n_features={n_features}, n_outputs={n_outputs} and "
            f"network_options={options.network_options}: {error}"
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(f"network {options.network} gives a {type(network).__name__}, not a torch.nn.Module")
    return network


def import_function(path: str, option: str) -> Callable:
    """What the dotted path names; `option` is the parameter that holds it."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ParameterError(f"{option} {path!r} cannot be imported: {error}") from error


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own, so that fits side by side do not disturb each other.

    Without a `generator` it is torch's own dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.generator: torch.Generator | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x with a share `p` set to 0 and the rest scaled up, in training."""
        if not self.training or self.p == 0:
            return x
        if self.generator is None:
            return functional.dropout(x, self.p)
        keep = torch.empty_like(x).bernoulli_(1 - self.p, generator=self.generator)
        return x * keep.div_(1 - self.p)


class Mlp(nn.Module):
    """A perceptron on the last candle, or on all candles of the window side by side."""

    def __init__(self, options: Options, n_features: int, n_outputs: int) -> None:
        super().__init__()
        self.lookback = options.lookback
        self.norm = nn.LayerNorm(n_features)
        width, layers = n_features * options.lookback, []
        for _ in range(options.layers):
            layers += [nn.Linear(width, options.hidden), nn.SiLU(), Dropout(options.dropout)]
            width = options.hidden
        self.layers = nn.Sequential(*layers, nn.Linear(width, n_outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, lookback - 1 + p, n_features) -> (b, p, n_outputs)."""
        x = self.norm(x)
        if self.lookback > 1:
            x = x.unfold(1, self.lookback, 1).flatten(2)  # (b, p, n_features * lookback)
        return self.layers(x)


class Recurrent(nn.Module):
    """LSTM or GRU over normalised, projected features, read out at each of the last p candles."""

    def __init__(self, options: Options, n_features: int, n_outputs: int) -> None:
        super().__init__()
        h, cell = options.hidden, {"lstm": nn.LSTM, "gru": nn.GRU}[options.network]
        self.lookback = options.lookback
        self.project = nn.Sequential(nn.LayerNorm(n_features), nn.Linear(n_features, h))
        self.cells = nn.ModuleList([cell(h, h, batch_first=True) for _ in range(options.layers)])
        self.dropout = Dropout(options.dropout)
        self.head = nn.Linear(h, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, lookback - 1 + p, n_features) -> (b, p, n_outputs)."""
        z = self.project(x)
        for depth, cell in enumerate(self.cells):
            z = cell(z if depth == 0 else self.dropout(z))[0]
        return self.head(self.dropout(z[:, self.lookback - 1 :]))


class Tcn(nn.Module):
    """Causal convolutions with doubling dilation, without padding: each layer gives fewer candles than it takes.

    Bai, Kolter & Koltun 2018, arXiv:1803.01271, with one convolution per residual block.
    """

    def __init__(self, options: Options, n_features: int, n_outputs: int) -> None:
        super().__init__()
        h, kernel, n_layers = options.hidden, options.kernel, tcn_layers(options)
        self.spare = options.lookback - 1 - (kernel - 1) * (2**n_layers - 1)  # oldest candles that no filter reaches
        self.project = nn.Sequential(nn.LayerNorm(n_features), nn.Linear(n_features, h))
        self.convolutions = nn.ModuleList([nn.Conv1d(h, h, kernel, dilation=2**i) for i in range(n_layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(h) for _ in range(n_layers)])
        self.dropout = Dropout(options.dropout)
        self.head = nn.Sequential(nn.LayerNorm(h), nn.Linear(h, n_outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, lookback - 1 + p, n_features) -> (b, p, n_outputs)."""
        z = self.project(x[:, self.spare :])
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            change = convolution(norm(z).transpose(1, 2)).transpose(1, 2)
            z = z[:, z.shape[1] - change.shape[1] :] + self.dropout(functional.silu(change))
        return self.head(z)


class Transformer(nn.Module):
    """Pre-norm transformer whose layers each look back over a share of the window, above a convolution.

    Attention adds up what it finds, with weights that fade smoothly with distance: products of neighbouring candles
    (a pattern) are what it learns last. A short causal convolution first shows each candle beside those just before
    it, as in Conformer (Gulati et al. 2020, arXiv:2005.08100). The shares and the convolution add up to `lookback`:
    stacked, the layers see exactly that many candles.
    """

    def __init__(self, options: Options, n_features: int, n_outputs: int) -> None:
        super().__init__()
        h, n_layers = options.hidden, options.layers
        rest = options.lookback - options.kernel
        reach = [len(range(i, rest, n_layers)) for i in range(n_layers)]  # adds up to the rest
        self.project = nn.Sequential(nn.LayerNorm(n_features), nn.Linear(n_features, h))
        self.neighbours = nn.Sequential(nn.Conv1d(h, h, options.kernel), nn.SiLU(), Dropout(options.dropout))
        self.blocks = nn.ModuleList([_Block(h, options.heads, back, options.dropout) for back in reach])
        self.head = nn.Sequential(nn.LayerNorm(h), nn.Linear(h, n_outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(b, lookback - 1 + p, n_features) -> (b, p, n_outputs)."""
        z = self.project(x)
        change = self.neighbours(z.transpose(1, 2)).transpose(1, 2)
        z = z[:, z.shape[1] - change.shape[1] :] + change
        for block in self.blocks:
            z = block(z)
        return self.head(z)


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.attention = BandedAttention(width, heads, reach)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), Dropout(dropout), nn.Linear(2 * width, width))
        self.reach, self.dropout = reach, Dropout(dropout)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        z = z[:, self.reach :] + self.dropout(self.attention(self.norms[0](z)))
        return z + self.dropout(self.feed(self.norms[1](z)))


class BandedAttention(nn.Module):
    """Each candle attends to itself and the `reach` candles before it; (b, t, width) to (b, t - reach, width).

    Positions are relative: a score falls linearly with distance (ALiBi, Press et al. 2022, arXiv:2108.12409), with a
    slope per head that is learned, so that a head can become any exponential average. Queries are taken in blocks
    that share their keys (Longformer's sliding chunks, arXiv:2004.05150): the work is O(t · reach), not O(t²).
    """

    def __init__(self, width: int, heads: int, reach: int) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.log_slope = nn.Parameter(-math.log(2) * 8 * torch.arange(1, heads + 1) / heads)  # ALiBi's own, (heads,)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(b, t, width) -> (b, t - reach, width)."""
        b, t, width = z.shape
        n = t - self.reach  # queries
        block = min(n, max(16, self.reach))
        blocks = -(-n // block)
        span = block + self.reach  # keys that a block of queries shares
        q, kv = self.query_key_value(functional.pad(z, (0, 0, 0, blocks * block - n))).split([width, 2 * width], dim=-1)
        q = q[:, self.reach :].reshape(b * blocks, block, self.heads, -1).transpose(1, 2)
        shared = kv.transpose(1, 2) if blocks == 1 else kv.unfold(1, span, block)  # ONNX has no unfold
        kv = shared.reshape(b * blocks, 2, self.heads, -1, span).transpose(-1, -2)
        y = functional.scaled_dot_product_attention(
            q, kv[:, 0], kv[:, 1], attn_mask=self._bias(block, span).to(q.dtype)
        )
        return self.out(y.transpose(1, 2).reshape(b, blocks * block, width)[:, :n])

    def _bias(self, block: int, span: int) -> torch.Tensor:
        """What is added to the scores (heads, block, span): less with distance, -inf outside the band."""
        query = torch.arange(block, device=self.log_slope.device)[:, None] + self.reach
        distance = query - torch.arange(span, device=self.log_slope.device)
        bias = -self.log_slope.exp()[:, None, None] * distance
        return bias.masked_fill((distance < 0) | (distance > self.reach), -torch.inf)
