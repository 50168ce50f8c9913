"""Pictures: the same frame for every set, the same bytes for the same input, whole files."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image
from stand_ins import images

from gtn_train.report import figures

HISTORY = [{"epoch": e, "train": 1 / (e + 1), "validation": 1.2 / (e + 1)} for e in range(5)]


def test_a_grid_holds_every_image_in_order():
    rows = images(5, size=4)
    grid = figures.grid(rows, columns=3)
    assert grid.dtype == np.uint8
    assert grid.shape == (3, 2 * 6 + 2, 3 * 6 + 2)
    for index, image in enumerate(rows):
        top, left = 2 + 6 * (index // 3), 2 + 6 * (index % 3)
        np.testing.assert_array_equal(grid[:, top : top + 4, left : left + 4], image)
    assert (grid[:, :2] == 255).all()
    assert (grid[:, 8:, 14:] == 255).all()  # the place of a sixth


def test_real_and_generated_images_are_framed_and_scaled_alike():
    dark = np.full((4, 1, 3, 3), 7, np.uint8)  # a scale of its own would make this black or white
    bright = np.full((4, 3, 3, 3), 200, np.uint8)
    one, other = figures.grid(dark), figures.grid(bright)
    assert one.shape == other.shape
    np.testing.assert_array_equal(one == 255, other == 255)
    assert set(one.ravel()) == {7, 255}


def test_a_single_image_has_the_frame_too():
    for channels in (1, 3):
        grid = figures.grid(images(1, channels=channels, size=4))
        assert grid.shape == (3, 8, 8)
        assert (grid[:, :2] == 255).all()
        assert (grid[:, :, -2:] == 255).all()


def test_read_only_images_are_taken():
    rows = images(4)
    rows.flags.writeable = False
    assert figures.grid(rows).shape[0] == 3


@pytest.mark.parametrize(
    ("rows", "columns", "error", "message"),
    [
        (images(2) / 255, None, TypeError, "images must be a uint8 ndarray"),
        (images(2)[0], None, ValueError, r"images must be \[n, c, h, w\]"),
        (images(2, channels=2), None, ValueError, "images must have 1 or 3 channels"),
        (images(2), 0, ValueError, "columns must be >= 1, got 0"),
    ],
)
def test_what_is_no_grid(rows, columns, error, message):
    with pytest.raises(error, match=message):
        figures.grid(rows, columns=columns)


def test_curves_show_every_name():
    history = [{**row, "seconds": 1.0, "round": 0} for row in HISTORY]
    figure = figures.curves(history)
    assert [axes.get_title() for axes in figure.axes] == ["train", "validation"]
    (line,) = figure.axes[1].lines
    np.testing.assert_array_equal(line.get_xdata(), range(5))
    np.testing.assert_allclose(line.get_ydata(), [1.2 / (e + 1) for e in range(5)])


def test_curves_in_panels_with_gaps_and_a_mark():
    history = [*HISTORY, {"epoch": 5, "train": float("nan"), "IS": 2.0}, {"epoch": 6, "IS": -1.0}]
    panels = {"loss": ("train", "validation", "absent"), "score": ("IS",)}
    figure = figures.curves(history, panels, mark=3)
    loss, score = figure.axes
    assert [len(line.get_xdata()) for line in loss.lines] == [5, 5, 2]  # the last is the mark
    assert list(loss.lines[2].get_xdata()) == [3, 3]
    assert (loss.get_yscale(), score.get_yscale()) == ("log", "linear")
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["train", "validation"]


def test_curves_of_several_trainings_in_one_picture():
    rows = [{"epoch": e, "train_loss": 1.0 + e, "validation_loss": 2.0, "IS": 3.0} for e in (1, 2)]
    figure = figures.learning_curves({"autoencoder": rows[:1], "generator": rows})
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [
        f"{stage}: {about}" for stage in ("autoencoder", "generator") for about in ("loss", "IS")
    ]
    assert [len(axes.lines) for axes in figure.axes] == [2, 1, 2, 1]
    assert list(figure.axes[2].lines[0].get_ydata()) == [2.0, 3.0]
    with pytest.raises(ValueError, match="histories must have rows with numbers"):
        figures.learning_curves({"generator": []})


def test_a_png_becomes_its_image_again():
    image = figures.grid(images(3))
    np.testing.assert_array_equal(figures.decode(figures.encode(image)), image)
    with pytest.raises(ValueError, match="a picture is damaged: "):
        figures.decode(b"no png")


def test_no_history_is_an_error():
    for history in ([], [{"epoch": 1, "stage": "x", "best": True}]):
        with pytest.raises(ValueError, match="history must have rows with numbers"):
            figures.curves(history)


def test_points_share_their_limits():
    inside, outside = np.random.default_rng(0).uniform(size=(2, 50, 2))
    figure = figures.scatter(
        {"data": inside, "samples": 5 * outside}, colours={"data": inside[:, 0]}
    )
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    line = figures.scatter({"one column": inside[:, :1]})
    assert len(line.axes[0].patches) == 100
    with pytest.raises(ValueError, match=r"1 or 2\], got \(4, 3\) for 'cube'"):
        figures.scatter({"cube": np.ones((4, 3))})
    with pytest.raises(ValueError, match="at least one set"):
        figures.scatter({})


def test_histograms_have_common_bins():
    figure = figures.histograms({"real": np.arange(5.0), "generated": np.full(3, 9.0)})
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["real", "generated"]
    with pytest.raises(ValueError, match="at least one set"):
        figures.histograms({})


@pytest.mark.parametrize("file_format", ["png", "svg", "pdf"])
def test_the_same_figure_gives_the_same_bytes(file_format):
    one, other = (figures.encode(figures.curves(HISTORY), file_format) for _ in range(2))
    assert one == other


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_comes_back_from_its_png(channels):
    image = images(1, channels=channels)[0]
    read = np.asarray(Image.open(io.BytesIO(figures.encode(image))))
    np.testing.assert_array_equal(read.reshape(6, 6, channels).transpose(2, 0, 1), image)


@pytest.mark.parametrize(
    ("picture", "file_format", "error", "message"),
    [
        (np.ones((1, 2, 2)), "png", TypeError, "picture must be uint8, got float64"),
        (np.ones((2, 2), np.uint8), "png", ValueError, r"picture must be \[1 or 3, height, width"),
        (np.ones((1, 2, 2), np.uint8), "svg", ValueError, "images are written as png, got 'svg'"),
        ("text", "png", TypeError, "picture must be a figure or an array, got str"),
    ],
)
def test_what_is_no_picture(picture, file_format, error, message):
    with pytest.raises(error, match=message):
        figures.encode(picture, file_format)


def test_files_appear_whole_or_not_at_all(tmp_path):
    figures.write(tmp_path / "curves.svg", figures.curves(HISTORY))
    figures.write(tmp_path / "grid.png", figures.grid(images(4)))
    assert b"<svg" in (tmp_path / "curves.svg").read_bytes()
    before = (tmp_path / "grid.png").read_bytes()
    with pytest.raises(TypeError, match="picture must be uint8"):
        figures.write(tmp_path / "grid.png", np.ones((3, 2, 2)))
    assert (tmp_path / "grid.png").read_bytes() == before
    with pytest.raises(ValueError, match=r"path must end in \.png, \.pdf, \.svg, and is"):
        figures.write(tmp_path / "grid.gif", figures.grid(images(4)))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["curves.svg", "grid.png"]


def test_pyplot_is_left_alone():
    assert (
        "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    )
