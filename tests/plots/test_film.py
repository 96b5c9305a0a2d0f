"""The film of a training: what is kept, what is drawn, and the files."""

from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from PIL import Image

from nanocnn import SGD, Conv2D, Dense, Flatten, Input, Sequential, plots
from nanocnn.plots.film import chosen
from support.pictures import assert_readable

rng = np.random.default_rng(6)
X, Y = rng.random((24, 8, 8, 1)).astype(np.float32), np.arange(24) % 3


def make(*convs, activation="softmax", shape=(8, 8, 1), classes=3):
    layers = [Input(shape), *(convs or [Conv2D(4, 3)]), Flatten(), Dense(classes, activation)]
    model = Sequential(layers, kernels="reference")
    model.compile(SGD(0.1), "mse" if activation is None else "sparse_categorical_crossentropy")
    return model


def film(model=None, x=X, y=Y, epochs=2, **options):
    model = make() if model is None else model
    recorder = plots.FilmstripRecorder(x[1], **{"every": 4, **options})
    model.fit(x, y, 4, epochs, callbacks=recorder, verbose=0)
    return recorder, model


def test_the_recorder_keeps_every_nth_state_the_first_and_the_last():
    recorder, _ = film(every=5)
    assert recorder.steps == [0, 5, 10, 12]
    model = make()
    for step in range(13):
        if step in recorder.steps:
            i = recorder.steps.index(step)
            if step == 0:
                assert np.array_equal(
                    recorder.kernels[i], model.layers[0].params["kernel"][:, :, 0]
                )
                assert np.array_equal(recorder.predictions[i], model.predict(X[1:2])[0])
    again, trained = film(every=12)
    assert again.steps == [0, 12]
    assert np.array_equal(again.kernels[-1], recorder.kernels[-1])
    assert np.array_equal(again.kernels[-1], trained.layers[0].params["kernel"][:, :, 0])
    assert np.array_equal(again.predictions[-1], trained.predict(X[1:2])[0])
    trained.fit(X, Y, 4, 1, callbacks=again, verbose=0)  # goes on
    assert again.steps == [0, 12, 18]


def test_the_averages_of_the_optimizer_are_the_last_state():
    model = make()
    model.compile(SGD(0.5, use_ema=True, ema_momentum=0.5), "sparse_categorical_crossentropy")
    recorder, _ = film(model, every=6)
    assert recorder.steps == [0, 6, 12]
    assert np.array_equal(recorder.kernels[-1], model.layers[0].params["kernel"][:, :, 0])


def test_a_training_is_the_same_with_and_without_the_recorder():
    one, two = make(), make()
    film(one, every=1)
    two.fit(X, Y, 4, 2, verbose=0)
    assert all(map(np.array_equal, one.get_weights(), two.get_weights()))


def test_the_strip_has_the_filters_and_predictions_of_its_rows():
    recorder, _ = film(label=2)
    figure = plots.filmstrip(recorder, most=3)
    assert_readable(figure)
    assert [a.get_ylabel() for a in figure.axes if "step" in a.get_ylabel()] == [
        "step\n0", "step\n8", "step\n12",
    ]  # fmt: skip
    assert figure._suptitle.get_text() == "conv2d: 4 filters of 3×3"
    head = figure.axes[1]
    assert head.get_title() == "output of class 2"
    assert list(head.get_lines()[0].get_xdata()) == [0, 4, 8, 12]
    assert np.allclose(head.get_lines()[0].get_ydata(), [p[2] for p in recorder.predictions])
    limit = max(np.abs(k).max() for k in recorder.kernels)
    rows = [figure.axes[2 + 5 * row : 7 + 5 * row] for row in range(3)]
    for i, (*maps, bars) in zip((0, 2, 3), rows, strict=True):
        for f, axis in enumerate(maps):
            assert np.array_equal(axis.images[0].get_array(), recorder.kernels[i][..., f])
            assert np.allclose(axis.images[0].get_clim(), (-limit, limit))
        assert np.allclose([b.get_height() for b in bars.patches], recorder.predictions[i])
        hatched = [b.get_hatch() for b in bars.patches].index("////")
        assert hatched == recorder.predictions[i].argmax()


@pytest.mark.parametrize("case", [
    "one filter", "many filters and classes", "colours", "outputs without bounds", "second layer",
    "one frame", "numbers that are not finite",
])  # fmt: skip
def test_every_strip_can_be_read(case, tmp_path):
    most = 8
    if case == "one filter":
        recorder, _ = film(make(Conv2D(1, 3)))
    elif case == "many filters and classes":
        recorder, _ = film(make(Conv2D(40, 3), classes=47), most=12, every=4)
        assert recorder.title == "conv2d: 12 of 40 filters of 3×3"
    elif case == "colours":
        x = rng.random((24, 8, 8, 3))
        recorder, _ = film(make(shape=(8, 8, 3)), x=x, channel=2)
        assert recorder.title == "conv2d: 4 filters of 3×3, input channel 2 of 3"
    elif case == "outputs without bounds":
        model = make(activation=None)
        model.compile(SGD(0.001), "mse")
        recorder, _ = film(model, y=rng.standard_normal((24, 3)) * 3)
    elif case == "second layer":
        model = make(Conv2D(2, 3), Conv2D(3, (1, 2)))
        recorder, _ = film(model, layer="conv2d_1", channel=1)
        kernel = model.layers[1].params["kernel"]
        assert np.array_equal(recorder.kernels[-1], kernel[:, :, 1])
    elif case == "one frame":
        recorder, most = film()[0], 1
    else:
        recorder, _ = film()
        recorder.kernels[-1][0] = np.nan
        recorder.predictions[-1][:] = np.nan
    assert_readable(plots.filmstrip(recorder, most=most))
    if "filter" not in case and "finite" not in case:
        return
    plots.filmstrip(recorder, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames > 1


def test_a_gif_shows_every_frame_in_true_greys(tmp_path):
    recorder, _ = film(every=1)
    path = tmp_path / "film.gif"
    plots.filmstrip(recorder, str(path), fps=5)
    with Image.open(path) as image:
        assert image.n_frames == len(recorder.steps) == 13
        assert image.info["loop"] == 0
        times, frames = [], []
        for i in range(13):
            image.seek(i)
            times.append(image.info["duration"])
            frames.append(np.asarray(image.convert("RGB")))
    assert times == [200] * 12 + [2200]
    assert (frames[0][0, 0] == 255).all()  # white stays white
    assert all((a != b).any() for a, b in pairwise(frames))
    assert frames[0].shape[1] <= 800


def test_an_mp4_gets_every_frame_from_ffmpeg(tmp_path, monkeypatch):
    fake = tmp_path / "ffmpeg"
    fake.write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\n')
    fake.chmod(0o755)
    monkeypatch.setitem(matplotlib.rcParams, "animation.ffmpeg_path", str(fake))
    recorder, _ = film()
    path = tmp_path / "film.mp4"
    figure_pixels = 720 * 430 * 4
    plots.filmstrip(recorder, path, fps=4)
    raw = path.read_bytes()
    assert len(raw) % (len(recorder.steps) + 8) == 0  # two seconds of the last frame
    assert len(raw) // (len(recorder.steps) + 8) > figure_pixels / 2


def test_without_ffmpeg_an_mp4_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "animation.ffmpeg_path", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"path: ending '.mp4' needs the program ffmpeg.*'.gif'"):
        plots.filmstrip(film()[0], tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


def test_figures_are_saved_too(tmp_path):
    for ending in ("png", "svg", "pdf"):
        plots.filmstrip(film()[0], tmp_path / f"film.{ending}")
        assert (tmp_path / f"film.{ending}").stat().st_size > 2000


def test_frames_are_chosen_evenly():
    assert chosen(10, 4) == [0, 3, 6, 9]
    assert chosen(3, 8) == [0, 1, 2] and chosen(9, 1) == [8] and chosen(1, 8) == [0]
    assert len(chosen(10_000, 200)) == 200 and chosen(10_000, 200)[-1] == 9999


@pytest.mark.parametrize("use, words", [
    (lambda: film(channel=1), "channel=1, expected 0 to 0: layer 'conv2d' has 1 input channels"),
    (lambda: film(label=3), "label=3, expected 0 to 2"),
    (lambda: film(layer="dense"), "unknown Conv2D layer 'dense'"),
    (lambda: film(Sequential([Input((8, 8, 1)), Flatten(), Dense(3)])), "compile"),
    (lambda: plots.FilmstripRecorder(X[0], every=0), "every=0"),
    (lambda: plots.filmstrip(plots.FilmstripRecorder(X[0])), "nothing recorded"),
    (lambda: plots.filmstrip(None), "recorder=None, expected a FilmstripRecorder"),
    (lambda: plots.filmstrip(film()[0], "film.txt"), "unknown path: ending '.txt'"),
    (lambda: plots.filmstrip(film()[0], fps=0), "fps=0, expected a number from 0.1 to 50"),
])  # fmt: skip
def test_wrong_use_is_refused(use, words):
    with pytest.raises((ValueError, RuntimeError), match=words):
        use()


def test_a_recorder_is_for_one_model():
    recorder, _ = film()
    with pytest.raises(ValueError, match="another model's frames; make a new one"):
        make(Conv2D(5, 3)).fit(X, Y, callbacks=recorder, verbose=0)
