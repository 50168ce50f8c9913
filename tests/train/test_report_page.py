"""The report: what is on the page, that nothing else is needed, and how a real browser shows it.

The browser is conftest.py's.
"""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from stand_ins import images

from gtn_train.report import figures
from gtn_train.report.page import Contents, render, write_report

RED = (230, 20, 40)
PHONE, DESK = (500, 900), (1200, 900)  # Chromium makes no narrower window


def contents():
    history = [{"epoch": e, "train_loss": 1 / (e + 1), "seconds": 3.0} for e in range(4)]
    red = np.zeros((4, 3, 16, 16), np.uint8)
    red[:] = np.array(RED, np.uint8)[:, None, None]
    return Contents(
        title="mnist <script>alert('no')</script>",
        summary="An autoencoder of 5 dimensions & a generator.",
        metrics=[
            {"extractor": "Lite0", "n": 10_000, "FD-Lite0": 41.23456, "precision": 0.5, "seed": 0}
        ],
        grids={"Generated": red, 'Real, "the same" frame': images(9)},
        curves={"autoencoder": history, "generator": history},
        pictures={
            "Norms": figures.histograms({"real": np.arange(9.0)}),
            "Interpolation": figures.grid(images(4), columns=4),
            "A file": figures.encode(figures.grid(images(2))),
        },
        labels={"mean cosine": 0.97123, "norm correlation": None, "n": 48_000},
        tables={"Norm spread": {"spread": 0.81}},
        config={"preset": "mnist", "generator": {"layers": 7, "widths": [50, 50]}, "fresh": False},
        versions={"python": "3.11.2"},
        hashes={"latents": "ab" * 32},
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, contents())
    return path


class Reader(HTMLParser):
    """All tags with their attributes, and the text outside of styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.within = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.within.append(tag)

    def handle_data(self, data):
        if self.within and self.within[-1] != "style":
            self.words.append(data.strip())


def test_everything_is_on_the_page(page):
    text = " ".join(filter(None, Reader(page.read_text()).words))
    for words in (
        "An autoencoder of 5 dimensions & a generator.",
        "N = 10,000, by Lite0",
        "FD-Lite0 41.23",
        "mean cosine 0.9712",
        "norm correlation –",
        "n 48,000",
        "spread 0.81",
        "generator.layers 7",
        "generator.widths 50, 50",
        "fresh no",
        "python 3.11.2",
        "latents " + "ab" * 32,
        'Real, "the same" frame',
    ):
        assert words in text


def test_the_page_needs_nothing_else_and_runs_nothing(page):
    text = page.read_text()
    tags = Reader(text).tags
    assert not [tag for tag, _ in tags if tag in ("script", "link", "iframe", "object")]
    addresses = [a[key] for _, a in tags for key in ("src", "href", "srcset") if key in a]
    assert len(addresses) == 6
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "http" not in re.sub(r"http-equiv|base64,[^\"]*", "", text)
    assert "url(" not in text
    assert "@import" not in text


def test_text_is_escaped(page):
    assert "&lt;script&gt;alert(&#39;no&#39;)&lt;/script&gt;" in page.read_text()
    alternatives = [a["alt"] for tag, a in Reader(page.read_text()).tags if tag == "img"]
    assert 'Real, "the same" frame' in alternatives


def test_pictures_are_their_bytes(page):
    sources = [a["src"] for tag, a in Reader(page.read_text()).tags if tag == "img"]
    content = [base64.b64decode(source.split(",")[1]) for source in sources]
    assert content[0] == figures.encode(figures.grid(contents().grids["Generated"]))
    assert all(data.startswith(b"\x89PNG") for data in content)


def test_small_images_are_enlarged_by_whole_numbers():
    for size, factor in ((8, 4), (150, 4), (400, 3), (600, 2), (700, 1)):
        text = render(Contents("x", grids={"one": images(1, size=size)}))
        assert f'class="pixels" width="{(size + 4) * factor}"' in text


def test_all_learning_curves_are_one_picture():
    rows = [{"epoch": 1, "train_loss": 2.0, "validation_loss": 3.0, "IS": 1.5, "seconds": 1.0}]
    curves = {"autoencoder": rows, "generator": rows, "no numbers": [{"epoch": 1}]}
    tags = Reader(render(Contents("x", curves=curves))).tags
    captions = [a["alt"] for tag, a in tags if tag == "img"]
    assert captions == ["autoencoder, generator"]


def test_methods_are_compared_in_one_table():
    table = {"generator": {"mean norm ratio": 0.98, "spread": 0.75}, "floor": {"spread": None}}
    reader = Reader(render(Contents("x", comparison=table)))
    words = [word for word in reader.words if word]
    begin = words.index("mean norm ratio")
    assert words[begin:] == [
        *("mean norm ratio", "spread"),
        *("generator", "0.98", "0.75"),
        *("floor", "–", "–"),
    ]


def test_the_same_contents_make_the_same_page():
    assert render(contents()) == render(contents())


def test_what_is_empty_is_left_out():
    text = render(Contents("Nothing yet"))
    assert "<h2" not in text
    assert "<h1>Nothing yet</h1>" in text


@pytest.mark.parametrize("missing", ["n", "extractor"])
def test_figures_without_their_number_or_network_are_refused(missing, tmp_path):
    row = {"n": 10, "extractor": "Lite0", "FD-Lite0": 1.0}
    del row[missing]
    page = tmp_path / "report.html"
    page.write_text("an earlier one")
    with pytest.raises(ValueError, match=f"metrics must say {missing}, got"):
        write_report(page, Contents("x", metrics=[row]))
    assert page.read_text() == "an earlier one"
    assert len(list(tmp_path.iterdir())) == 1


# ------------------------------------------------------------------------------------- a browser


def screenshot(browse, page, target, *options, size=DESK):
    _, errors = browse(page, f"--screenshot={target}", *options, size=size)
    assert "CONSOLE" not in errors
    with Image.open(target) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def probe(page, folder):
    """Copy of the page with a script that writes what the browser made of it into the page."""
    script = """<script>addEventListener("load", () => {
      const images = [...document.images].map(i => [i.complete, i.naturalWidth, i.clientWidth]);
      const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      document.body.dataset.found = JSON.stringify({images, wide});
    })</script>"""
    text = page.read_text()
    policy = re.search(r"<meta http-equiv=[^>]*>", text).group()
    path = folder / "probe.html"
    path.write_text(text.replace(policy, "").replace("</head>", script + "</head>"))
    return path


def test_a_browser_shows_all_images_and_complains_of_nothing(browse, page, tmp_path):
    shown, errors = browse(page, "--dump-dom")
    assert "N = 10,000, by Lite0" in shown
    assert "CONSOLE" not in errors
    for size in (PHONE, DESK):
        shown, errors = browse(probe(page, tmp_path), "--dump-dom", size=size)
        assert "CONSOLE" not in errors
        found = json.loads(
            Reader(shown).tags[[t for t, _ in Reader(shown).tags].index("body")][1]["data-found"]
        )
        assert len(found["images"]) == 6
        for complete, natural, drawn in found["images"]:
            assert complete
            assert natural > 0
            assert 0 < drawn <= size[0]
        assert found["wide"] <= 0  # nothing sticks out to the right


def test_complaints_would_be_seen(browse, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<!DOCTYPE html><title>x</title><script>nonsense()</script>")
    assert "CONSOLE" in browse(page, "--dump-dom")[1]


def test_the_picture_is_not_blank_in_light_and_dark(browse, page, tmp_path):
    light = screenshot(browse, page, tmp_path / "light.png")
    dark = screenshot(
        browse, page, tmp_path / "dark.png", "--blink-settings=preferredColorScheme=0"
    )
    for pixels in (light, dark):
        red = (abs(pixels - RED).max(axis=2) <= 3).mean()
        assert red > 0.005, "the grid of red images is not to be seen"
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50
    assert light[0, 0].min() > 200
    assert dark[0, 0].max() < 60
