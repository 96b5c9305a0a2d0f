"""The rule for pixels: uint8 is scaled by 1/255, floats are as they are, a change is said once."""

import copy

import numpy as np
import pytest

from nanocnn import Dense, EarlyStopping, Flatten, Input, Sequential, load_model
from nanocnn.storage import Snapshot
from support.small_models import BOTH_SETS, digits, small_model

X, Y = digits(40)
FLOATS = (X / 255).astype("float32")
RAW = X.astype("float32")
SCALE = (
    "values up to .*, where model 'sequential' was trained on values within 1.5: .*pass uint8 or"
)


def trained(x, kernels="reference"):
    model = small_model(kernels)
    model.fit(x, Y, verbose=0)
    return model


USES = {
    "predict": lambda model, x: model.predict(x),
    "one image": lambda model, x: model.predict(x[:1]),
    "evaluate": lambda model, x: model.evaluate(x, Y),
    "fit": lambda model, x: model.fit(x, Y, verbose=0),
    "train_on_batch": lambda model, x: model.train_on_batch(x, Y),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("before", [X, FLOATS, X > 100], ids=["uint8", "floats", "booleans"])
def test_pixels_of_another_scale_give_one_warning(before, use):
    model = trained(before)
    USES[use](model, X)
    USES[use](model, FLOATS)
    with pytest.warns(UserWarning, match=SCALE) as caught:
        USES[use](model, RAW)
        USES[use](model, RAW)
    assert len(caught) == 1 and caught[0].filename == __file__


@BOTH_SETS
def test_no_warning_for_models_trained_on_larger_numbers(kernels):
    for before in (RAW, -RAW, (RAW - 70) / 40):
        trained(before, kernels).predict(RAW)
    small_model(kernels).predict(RAW)
    model = trained(X, kernels)
    with pytest.warns(UserWarning, match=SCALE):
        model.fit(RAW, Y, verbose=0)
    copy.deepcopy(model).predict(RAW)


def test_validation_data_of_another_scale_give_a_warning():
    with pytest.warns(UserWarning, match="^validation x: values up to"):
        small_model().fit(X, Y, validation_data=(RAW, Y), verbose=0)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("before", [RAW, (RAW - 70) / 40], ids=["0 to 255", "standardised"])
def test_uint8_gives_one_warning_after_training_on_larger_floats(before, use):
    model = trained(before)
    USES[use](model, before)
    with pytest.warns(UserWarning, match=r"^x: uint8, .* by 1/255, .*x.astype\('flo") as caught:
        USES[use](model, X)
        USES[use](model, X)
    assert len(caught) == 1 and caught[0].filename == __file__
    with pytest.warns(UserWarning, match="^validation x: uint8"):
        small_model().fit(before, Y, validation_data=(X, Y), verbose=0)


def test_a_fit_that_was_refused_is_no_training():
    model = small_model()
    for wrong in ({"validation_data": (RAW, Y[:3])}, {"callbacks": EarlyStopping("val_loss")}):
        with pytest.raises(ValueError):
            model.fit(RAW, Y, verbose=0, **wrong)
    assert model.unit_range is None
    model.fit(RAW, Y, verbose=0)
    model.build(model.input_shape)  # new weights: what was trained is gone
    assert model.unit_range is None


def test_the_fix_that_the_warning_names_works():
    model = small_model()
    model.scale_uint8 = False
    model.fit(FLOATS, Y, verbose=0)
    with pytest.warns(UserWarning, match="pixels of 0 to 255, divide by 255"):
        model.predict(X)


def test_the_range_survives_saving_and_copying(tmp_path):
    model = trained(X)
    paths = [tmp_path / f"m{suffix}" for suffix in (".npz", ".h5", ".keras")]
    for path in paths:
        model.save(path)
    for again in (*map(load_model, paths), copy.deepcopy(model)):
        with pytest.warns(UserWarning, match=SCALE):
            again.predict(RAW)
        assert "unit_range" not in again.progress


def test_a_wrong_range_in_a_file_is_refused():
    snapshot = trained(X).snapshot()
    snapshot.config["unit_range"] = [1]
    with pytest.raises(ValueError, match=r"unit_range=\[1\], expected True or False"):
        Sequential.from_snapshot(snapshot)


@BOTH_SETS
def test_without_scaling_all_numbers_are_taken_as_they_are(kernels):
    def model(scale_uint8):
        layers = [Input((12, 10, 1)), Flatten(), Dense(3)]
        made = Sequential(layers, kernels=kernels, scale_uint8=scale_uint8)
        made.compile("sgd", "mse")
        return made

    taken, scaled = model(False), model(True)
    expected = scaled.predict(RAW)
    assert not np.allclose(scaled.predict(X), expected)
    for kind in ("u1", "i2", ">i4", "u8", "f8"):
        np.testing.assert_allclose(taken.predict(X.astype(kind)), expected, rtol=1e-5)
    np.testing.assert_allclose(taken.predict(X[:1]), expected[:1], rtol=1e-5)
    target = np.zeros((40, 3))
    assert taken.evaluate(X, target) == pytest.approx(scaled.evaluate(RAW, target))
    taken.fit(X[:4] // 100, target[:4], verbose=0)
    assert taken.unit_range is False


def test_the_scaling_option_survives_saving_and_copying():
    model = small_model()
    assert model.scale_uint8 and model.get_config()["scale_uint8"] is True
    config = {**model.get_config(), "scale_uint8": False}
    again = Sequential.from_snapshot(Snapshot(config, model.weights))
    assert copy.deepcopy(again).scale_uint8 is False
    np.testing.assert_allclose(again.predict(X), model.predict(RAW), atol=1e-4)
    assert not np.allclose(again.predict(X), model.predict(X), atol=1e-2)
    del config["scale_uint8"]  # of a file from before there was a choice
    assert Sequential.from_snapshot(Snapshot(config, model.weights)).scale_uint8
    with pytest.raises(ValueError, match="scale_uint8='no', expected True or False"):
        Sequential(scale_uint8="no")


def test_inspection_scales_pixels_as_predict_does():
    from nanocnn.plots.style import one_image

    model = small_model()
    model.scale_uint8 = False
    assert one_image(model, X[0]).max() == X[0].max()
    assert model.trace(X[:2], Y[:2]).layers[0].x.max() == X[:2].max()


def test_the_rule_is_in_the_docstrings():
    for thing in (Sequential, Sequential.fit, Sequential.predict, load_model):
        assert "255" in (thing.__doc__ or "")
