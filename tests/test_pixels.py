"""The rule for pixels: uint8 is scaled by 1/255, floats are as they are, a change is said once."""

import copy

import numpy as np
import pytest
from small import BOTH_SETS, digits, small_model

from nanocnn import Dense, Flatten, Input, Sequential, load_model
from nanocnn.storage import Snapshot

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
def test_values_of_another_scale_are_said_once(before, use):
    model = trained(before)
    USES[use](model, X)
    USES[use](model, FLOATS)
    with pytest.warns(UserWarning, match=SCALE) as caught:
        USES[use](model, RAW)
        USES[use](model, RAW)
    assert len(caught) == 1 and caught[0].filename == __file__


@BOTH_SETS
def test_nothing_is_said_of_models_that_were_trained_on_larger_numbers(kernels):
    for before in (RAW, -RAW, (RAW - 70) / 40):
        trained(before, kernels).predict(RAW)
    small_model(kernels).predict(RAW)
    model = trained(X, kernels)
    with pytest.warns(UserWarning, match=SCALE):
        model.fit(RAW, Y, verbose=0)
    copy.deepcopy(model).predict(RAW)


def test_validation_data_of_another_scale():
    with pytest.warns(UserWarning, match="^validation x: values up to"):
        small_model().fit(X, Y, validation_data=(RAW, Y), verbose=0)


def test_it_is_remembered_by_files_and_copies(tmp_path):
    model = trained(X)
    model.save(tmp_path / "m.npz")
    for again in (load_model(tmp_path / "m.npz"), copy.deepcopy(model)):
        with pytest.warns(UserWarning, match=SCALE):
            again.predict(RAW)
        assert set(again.progress) == set(model.progress)


def test_a_wrong_range_in_a_file_is_refused():
    snapshot = trained(X).snapshot()
    snapshot.progress["unit_range"] = [1]
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


def test_whether_pixels_are_scaled_is_kept():
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


def test_looks_inside_take_numbers_as_predictions_do():
    from nanocnn.plots.style import one_image

    model = small_model()
    model.scale_uint8 = False
    assert one_image(model, X[0]).max() == X[0].max()
    assert model.trace(X[:2], Y[:2]).layers[0].x.max() == X[:2].max()


def test_the_rule_stands_where_it_is_looked_for():
    for thing in (Sequential, Sequential.fit, Sequential.predict, load_model):
        assert "255" in (thing.__doc__ or "")
