import numpy as np
import pytest

from agent_market.learning.preprocessing import (
    QuantileClipper,
    build_preprocessing,
    load_preprocessing,
    save_preprocessing,
)

RNG = np.random.default_rng(0)
TRAIN = RNG.normal(3, 2, (500, 4)).astype(np.float32)
TRAIN[::7, 1] = np.nan
OTHER = RNG.normal(-5, 50, (300, 4)).astype(np.float32)


def test_training_rows_come_out_whole_and_of_one_scale():
    out = build_preprocessing(("impute", "clip", "standardize")).fit(TRAIN).transform(TRAIN)
    np.testing.assert_allclose(out.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=0), 1, atol=1e-5)


def test_values_beyond_the_training_quantiles_are_held_at_them():
    clipper = QuantileClipper(0.1, 0.9).fit(TRAIN)
    out = clipper.transform(OTHER)
    np.testing.assert_allclose(np.nanmax(out, axis=0), np.nanquantile(TRAIN, 0.9, axis=0), rtol=1e-6)
    np.testing.assert_allclose(np.nanmin(out, axis=0), np.nanquantile(TRAIN, 0.1, axis=0), rtol=1e-6)


def test_what_is_fitted_depends_on_the_training_rows_only():
    def transformed(fitted_on):
        return build_preprocessing(("impute", "clip", "standardize")).fit(fitted_on).transform(TRAIN)

    alone = transformed(TRAIN)
    np.testing.assert_array_equal(alone, transformed(TRAIN.copy()))
    assert not np.allclose(alone, transformed(np.vstack([TRAIN, OTHER])))  # a leak would show


def test_no_steps_is_no_pipeline():
    assert build_preprocessing(()) is None


def test_a_stored_pipeline_does_the_same(tmp_path):
    pipeline = build_preprocessing(("impute", "clip", "standardize")).fit(TRAIN)
    save_preprocessing(pipeline, tmp_path / "p.skops")
    np.testing.assert_array_equal(load_preprocessing(tmp_path / "p.skops").transform(OTHER), pipeline.transform(OTHER))


def test_a_stored_pipeline_with_a_foreign_type_is_refused(tmp_path):
    import skops.io
    from sklearn.preprocessing import FunctionTransformer
    from skops.io.exceptions import UntrustedTypesFoundException

    skops.io.dump(FunctionTransformer(eval), tmp_path / "p.skops")
    with pytest.raises(UntrustedTypesFoundException):
        load_preprocessing(tmp_path / "p.skops")
