import pytest
import torch

from agent_market.adapters.torch.augment import build_augment
from agent_market.errors import ParameterError

X = torch.randn(50, 20, 30, generator=torch.Generator().manual_seed(0)) + 5


def _batch():
    ones = torch.ones(50, 1)
    y = torch.arange(50.0)[:, None, None].clone()
    y[7] = torch.nan
    return {"x": X, "y": y, "weight": ones.masked_fill(y[..., 0].isnan(), 0.0), "date": ones.int()}


def _augmented(tiny, seed=0, **augment):
    return build_augment(tiny(augment=augment))(_batch(), torch.Generator().manual_seed(seed))


def test_nothing_is_changed_unless_asked_for(tiny):
    assert build_augment(tiny()) is None


def test_noise_has_the_wanted_deviation(tiny):
    change = _augmented(tiny, noise=0.3)["x"] - X
    assert float(change.std()) == pytest.approx(0.3, rel=0.02)
    assert float(change.mean()) == pytest.approx(0, abs=0.01)


def test_feature_dropout_blanks_whole_features_of_a_sequence(tiny):
    blank = _augmented(tiny, feature_dropout=0.2)["x"] == 0
    assert torch.equal(blank.any(1), blank.all(1))
    assert float(blank.float().mean()) == pytest.approx(0.2, abs=0.05)


def test_time_mask_blanks_whole_candles_but_never_the_last(tiny):
    blank = _augmented(tiny, time_mask=0.3)["x"] == 0
    assert torch.equal(blank.any(2), blank.all(2))
    assert not blank[:, -1].any()
    assert float(blank[:, :-1].float().mean()) == pytest.approx(0.3, abs=0.05)


def test_mixup_blends_features_and_labels_by_the_same_share(tiny):
    batch = _augmented(tiny, mixup=0.4)
    unknown = batch["y"][:, 0, 0].isnan()
    assert 1 <= int(unknown.sum()) <= 2  # the one without a label, and the one that it was blended into
    assert (batch["weight"][:, 0] == 0).eq(unknown).all()
    other = torch.randperm(50, generator=_after_one_draw())
    share = (batch["y"][0, 0, 0] - other[0]) / (0 - other[0])
    torch.testing.assert_close(batch["x"], share * X + (1 - share) * X[other], rtol=1e-4, atol=1e-4)


def _after_one_draw():
    generator = torch.Generator().manual_seed(0)
    torch.randint(2**62, (1,), generator=generator)
    return generator


def test_augmentation_is_a_matter_of_the_seed_alone(tiny):
    changes = {"noise": 0.1, "feature_dropout": 0.1, "time_mask": 0.1, "mixup": 0.2}
    first, again, other = (_augmented(tiny, seed, **changes)["x"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_functions_of_ones_own_change_batches(tiny, fit_tiny, tmp_path, monkeypatch):
    (tmp_path / "my_batches.py").write_text(
        "seen = []\n"
        "def double(batch, generator):\n"
        "    seen.append(float(batch['x'].sum()))\n"
        "    return batch | {'x': 2 * batch['x']}\n"
        "def blank(batch):\n"
        "    return batch | {'x': 0 * batch['x']}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    augment = build_augment(tiny(augment="my_batches.double"))
    torch.testing.assert_close(augment(_batch(), torch.Generator())["x"], 2 * X)
    fit_tiny(augment="my_batches.double", collate_fn="my_batches.blank", epochs=1)
    import my_batches

    assert len(my_batches.seen) > 1
    assert my_batches.seen[1:] == [0.0] * (len(my_batches.seen) - 1)  # collate_fn comes first
    with pytest.raises(ParameterError, match=r"augment 'my_batches\.missing' cannot be imported"):
        fit_tiny(augment="my_batches.missing")
