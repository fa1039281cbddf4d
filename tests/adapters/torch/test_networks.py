import numpy as np
import pytest
import torch

from agent_market.adapters.torch.batches import apply, check_causal
from agent_market.adapters.torch.networks import BandedAttention, Dropout, build_network
from agent_market.errors import ModelError, ParameterError

FORMS = [
    ("mlp", {"lookback": 1}),
    ("mlp", {"lookback": 9}),
    ("tcn", {"lookback": 32}),
    ("tcn", {"lookback": 12, "kernel": 2}),
    ("transformer", {"lookback": 32}),
    ("transformer", {"lookback": 64, "layers": 3}),
    ("transformer", {"lookback": 5}),
    ("transformer", {"lookback": 4, "kernel": 2}),
]


def _network(tiny, name, changes, n_outputs=2):
    options = tiny(name, **changes)
    torch.manual_seed(0)
    return options, build_network(options, 4, n_outputs).eval()


@pytest.mark.parametrize(("name", "changes"), FORMS)
@pytest.mark.parametrize("length", [1, 7, 100])
def test_a_chunk_says_what_its_windows_say(tiny, name, changes, length):
    options, network = _network(tiny, name, changes)
    x = torch.randn(3, options.lookback - 1 + length, 4)
    with torch.no_grad():
        chunk = apply(network, x, options.lookback, 2)
        windows = x.unfold(1, options.lookback, 1).transpose(2, 3).flatten(0, 1)  # (3 * length, lookback, 4)
        alone = apply(network, windows, options.lookback, 2).reshape(3, length, 2)
    np.testing.assert_allclose(chunk, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "changes"), [*FORMS, ("lstm", {"lookback": 9}), ("gru", {"lookback": 9, "layers": 2})]
)
def test_no_output_depends_on_later_candles(tiny, name, changes):
    options, network = _network(tiny, name, changes)
    x = torch.randn(1, options.lookback - 1 + 40, 4)
    other = x.clone()
    other[:, -20:] = 99.0
    with torch.no_grad():
        before, after = (apply(network, part, options.lookback, 2)[:, :20] for part in (x, other))
    assert torch.equal(before, after)


@pytest.mark.parametrize(("name", "changes"), FORMS)
def test_the_oldest_candle_within_reach_counts_and_the_one_before_it_does_not(tiny, name, changes):
    options, network = _network(tiny, name, changes)
    reach = options.lookback
    if name == "tcn":
        reach = {32: 31, 12: 8}[options.lookback]  # 1 + 2·(2⁴ - 1) and 1 + (2³ - 1)
    x = torch.randn(1, options.lookback + 5, 4, requires_grad=True)
    apply(network, x, options.lookback, 2)[0, -1].sum().backward()
    moved = x.grad[0].abs().sum(1)
    assert torch.nonzero(moved).min() == len(moved) - reach


def test_attention_is_softmax_over_the_band_less_slope_times_distance():
    torch.manual_seed(0)
    attention = BandedAttention(8, 2, reach=3)
    z = torch.randn(1, 30, 8)
    q, k, v = attention.query_key_value(z)[0].split(8, dim=-1)
    expected = torch.zeros(27, 8)
    for i in range(27):
        for head, part in enumerate((slice(0, 4), slice(4, 8))):
            keys = slice(i, i + 4)
            slope = attention.log_slope.exp()[head]
            score = k[keys, part] @ q[i + 3, part] / 2 - slope * torch.tensor([3.0, 2.0, 1.0, 0.0])  # 2 = sqrt(4)
            expected[i, part] = torch.softmax(score, 0) @ v[keys, part]
    torch.testing.assert_close(attention(z)[0], attention.out(expected))


def test_dropout_draws_from_its_own_generator_and_keeps_the_mean():
    layer = Dropout(0.25).train()
    layer.generator = torch.Generator().manual_seed(1)
    state = torch.get_rng_state()
    first = layer(torch.ones(100_000))
    assert torch.equal(state, torch.get_rng_state())
    assert first.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float(first.mean()) == pytest.approx(1, abs=0.02)
    layer.generator.manual_seed(1)
    assert torch.equal(first, layer(torch.ones(100_000)))
    assert torch.equal(layer.eval()(first), first)


OWN = """
import torch
from torch import nn

class Last(nn.Module):
    def __init__(self, n_features, n_outputs, width=4):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(n_features, width), nn.Dropout(0.5), nn.Tanh(), nn.Linear(width, n_outputs))
    def forward(self, x):
        return self.net(x[:, -1])

class Everywhere(Last):
    lookback = 8
    def forward(self, x):
        return self.net(x[:, self.lookback - 1:])

class Peeking(Everywhere):
    def forward(self, x):
        return super().forward(x + x.mean(1, keepdim=True))

def nothing(n_features, n_outputs):
    return None
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_networks"


@pytest.mark.parametrize(("name", "training"), [("Last", "window"), ("Everywhere", "chunked")])
def test_a_network_of_ones_own_is_trained_by_its_dotted_path(fit_tiny, own, name, training):
    state = torch.get_rng_state()
    models = [fit_tiny(f"{own}.{name}", network_options={"width": 6}, training=training, epochs=2) for _ in range(2)]
    weights = [model.members[0].network.state_dict() for model in models]
    assert weights[0]["net.0.weight"].shape == (6, 4)
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert torch.equal(state, torch.get_rng_state())


def test_a_network_that_looks_ahead_within_a_chunk_is_caught(fit_tiny, own, tiny):
    with pytest.raises(ModelError, match=r"my_networks\.Peeking looks ahead.*training: window"):
        fit_tiny(f"{own}.Peeking", training="chunked")
    options = tiny("lstm")
    check_causal(build_network(options, 4, 1), options, 4, 1, torch.device("cpu"))


@pytest.mark.parametrize(
    ("path", "changes", "error", "match"),
    [
        ("my_networks.Missing", {}, ParameterError, "network 'my_networks.Missing' cannot be imported"),
        ("no_such.Module", {}, ParameterError, "cannot be imported"),
        ("my_networks.Last", {"network_options": {"depth": 2}}, ModelError, "depth"),
        ("my_networks.nothing", {}, ModelError, "gives a NoneType, not a torch.nn.Module"),
        ("my_networks.Last", {"training": "chunked"}, ModelError, r"expected \(2, 16, 1\).*training: window"),
    ],
)
def test_what_is_wrong_with_a_network_of_ones_own_is_said(fit_tiny, own, path, changes, error, match):
    with pytest.raises(error, match=match):
        fit_tiny(path, **changes)
