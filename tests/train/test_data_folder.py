"""Image files to pixels: every kind of file, damage, the cache, interruption."""

from __future__ import annotations

import io
import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gtn_train.data import folder, open_images
from gtn_train.data.folder import Decoding, Encoded, decode

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def colours(height: int = 8, width: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decoded(image: Image.Image, channels: int = 3, size: int = 8, **options) -> np.ndarray:
    """Decode an image that was saved in a lossless format of its mode."""
    file = io.BytesIO()
    image.save(file, "TIFF" if image.mode in ("CMYK", "F", "I") else "PNG", **options)
    files = Encoded(1, lambda row: io.BytesIO(file.getvalue()), lambda row: "the image")
    return decode(files, Decoding(size, channels=channels))[0]


def write(root: Path, *names: str, height: int = 8, width: int = 8) -> None:
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colours(height, width, number)).save(path)


# ------------------------------------------------------------------------------- kinds of files


def test_rgb_and_grey_come_through_unchanged() -> None:
    np.testing.assert_array_equal(decoded(Image.fromarray(colours())), colours().transpose(2, 0, 1))
    np.testing.assert_array_equal(decoded(Image.fromarray(RAMP)), np.stack([RAMP] * 3))
    np.testing.assert_array_equal(decoded(Image.fromarray(RAMP), channels=1), RAMP[None])


def test_colours_become_luminance() -> None:
    grey = decoded(Image.fromarray(colours()), channels=1)[0].astype(float)
    np.testing.assert_allclose(grey, colours() @ [0.299, 0.587, 0.114], atol=1)


def test_sixteen_bits_are_scaled() -> None:
    wide = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    wanted = np.round(wide / 257).astype(np.uint8)
    assert Image.fromarray(wide).mode == "I;16"
    np.testing.assert_array_equal(decoded(Image.fromarray(wide)), np.stack([wanted] * 3))
    as_int32 = Image.fromarray(wide.astype(np.int32))
    assert as_int32.mode == "I"
    np.testing.assert_array_equal(decoded(as_int32, channels=1), wanted[None])


def test_values_without_a_known_white_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the image .*its values, 0 to 70000, are beyond 16 bits"):
        decoded(Image.fromarray(np.linspace(0, 70000, 64).reshape(8, 8).astype(np.int32)))
    with pytest.raises(ValueError, match=r"the image .*floating-point, whose white is not known"):
        decoded(Image.fromarray(np.zeros((8, 8), np.float32)))


def test_palettes_and_bits() -> None:
    palette = Image.fromarray(RAMP // 4 % 3).convert("L")
    palette = Image.frombytes("P", (8, 8), palette.tobytes())
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    wanted = np.eye(3, dtype=np.uint8)[RAMP // 4 % 3] * 255
    np.testing.assert_array_equal(decoded(palette), wanted.transpose(2, 0, 1))
    bits = Image.fromarray(RAMP > 100)
    assert bits.mode == "1"
    np.testing.assert_array_equal(decoded(bits, channels=1)[0], (RAMP > 100) * np.uint8(255))


def test_cmyk() -> None:
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[:4, :, 0] = 255  # cyan above, white below
    wanted = np.full((3, 8, 8), 255)
    wanted[0, :4] = 0
    np.testing.assert_array_equal(decoded(Image.fromarray(ink, "CMYK")), wanted)


def test_what_is_transparent_shows_white() -> None:
    clear = np.dstack([colours(), np.full((8, 8), 255, np.uint8)])
    clear[:4, :, 3] = 0
    wanted = colours().transpose(2, 0, 1).copy()
    wanted[:, :4] = 255
    np.testing.assert_array_equal(decoded(Image.fromarray(clear)), wanted)
    grey = np.dstack([RAMP, clear[..., 3]])
    np.testing.assert_array_equal(
        decoded(Image.fromarray(grey, "LA"), channels=1)[0], np.where(clear[..., 3], RAMP, 255)
    )
    keyed = decoded(Image.fromarray(RAMP), channels=1, transparency=8)[0]
    np.testing.assert_array_equal(keyed, np.where(RAMP == 8, 255, RAMP))


def test_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    turned = decoded(Image.fromarray(RAMP), channels=1, exif=exif)[0]
    np.testing.assert_array_equal(turned, np.rot90(RAMP, -1))


def test_the_centre_is_kept() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = colours()
    np.testing.assert_array_equal(decoded(Image.fromarray(wide)), colours().transpose(2, 0, 1))
    # Resized by its shorter side: column j of 24 lies about column 4j + 1.5 of 96.
    ramp = np.tile(np.arange(96, dtype=np.uint8) * 2, (32, 1))
    wanted = np.round(2 * (4 * np.arange(8, 16) + 1.5))
    np.testing.assert_array_equal(
        decoded(Image.fromarray(ramp), channels=1)[0], np.tile(wanted, (8, 1))
    )


def test_crop_before_resize(tmp_path) -> None:
    framed = np.zeros((200, 180, 3), np.uint8)
    framed[26:174, 16:164] = 200
    Image.fromarray(framed).save(tmp_path / "a.png")
    images = open_images("celeba", tmp_path)
    assert images.shape == (3, 64, 64)
    assert (images.images == 200).all()
    assert open_images("celeba", tmp_path, size=16, channels=1).shape == (1, 16, 16)
    Image.fromarray(framed[:100]).save(tmp_path / "b.png")
    with pytest.raises(
        ValueError, match=r"b.png' must be at least 148 × 148 pixels .*, and is 180 × 100"
    ):
        open_images("celeba", tmp_path)


# -------------------------------------------------------------------------------------- folders


def test_folder_of_classes(tmp_path) -> None:
    write(tmp_path, "b/2.png", "a/deep/1.PNG", "a/0.jpg", "b/.hidden.png")
    (tmp_path / "b" / "notes.txt").write_text("not an image")
    images = open_images("folder", tmp_path, size=8)
    assert images.classes == ("a", "b")
    assert images.labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(images.images[2], colours(seed=0).transpose(2, 0, 1))
    np.testing.assert_array_equal(images.images[1], colours(seed=1).transpose(2, 0, 1))
    assert images.name == tmp_path.name


@pytest.mark.parametrize("names", [("a/0.png", "1.png"), ("a/0.png", "a/1.png"), ("0.png",)])
def test_folder_without_classes(tmp_path, names) -> None:
    write(tmp_path, *names)
    images = open_images("folder", tmp_path, size=8)
    assert (images.labels, images.classes) == (None, None)
    assert images.n == len(names)


def test_many_images_keep_their_order(tmp_path) -> None:
    """More than one block a thread, so that blocks end in another order than they began."""
    for number in range(100):
        flat = np.full((4, 4), number, np.uint8)
        Image.fromarray(flat).save(tmp_path / f"{number:03}.bmp")
    images = open_images("folder", tmp_path, size=4, channels=1)
    np.testing.assert_array_equal(images.images[:, 0, 0, 0], np.arange(100))


def test_missing_and_empty_folders(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"root '.*none' does not exist, and must be a fol"):
        open_images("folder", tmp_path / "none", size=8)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(NotADirectoryError, match=r"root must be a folder of images, and '.*a.txt'"):
        open_images("folder", tmp_path / "a.txt", size=8)
    with pytest.raises(
        FileNotFoundError, match=r"holds no image: .* end in \.jpg, .*, and found 1 other files"
    ):
        open_images("folder", tmp_path, size=8)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda content: content[: len(content) // 2], "truncated"),
        (lambda content: b"this is no image at all", "cannot identify"),
        (lambda content: b"", "cannot identify"),
    ],
    ids=["truncated", "text", "empty"],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_damaged_file_is_named(tmp_path, damage, reason, suffix) -> None:
    names = [f"{number:02}{suffix}" for number in range(50)]
    write(tmp_path, *names, height=64, width=64)
    for name in (names[41], names[45]):
        (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    cache = tmp_path / "cache"
    message = rf"41{suffix}' is truncated or not an image that can be read: .*{reason}"
    with pytest.raises(ValueError, match=message):
        open_images("folder", tmp_path, size=8, cache=cache)
    assert list(cache.iterdir()) == []


def test_an_unreadable_file_is_the_systems_error(tmp_path) -> None:
    write(tmp_path, "a.png")
    (tmp_path / "b.png").mkdir()
    (tmp_path / "c.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(FileNotFoundError, match=r"c\.png"):
        open_images("folder", tmp_path, size=8)


# ------------------------------------------------------------------------- cache, interruption


def test_cache(tmp_path, monkeypatch) -> None:
    root, cache = tmp_path / "images", tmp_path / "deep" / "cache"
    write(root, "a/0.png", "b/1.png")
    plain = open_images("folder", root, size=8)
    first = open_images("folder", root, size=8, cache=cache)
    assert isinstance(first.images, np.memmap)
    assert not first.images.flags.writeable
    assert first.sha256 == plain.sha256
    assert first.labels.tolist() == [0, 1]

    def refuse(*arguments):
        raise AssertionError("decoded again")

    with monkeypatch.context() as patched:
        patched.setattr(folder, "_decode_one", refuse)
        again = open_images("folder", root, size=8, cache=cache)
        assert again.sha256 == plain.sha256
        assert again.labels.tolist() == [0, 1]
        with pytest.raises(AssertionError, match="decoded again"):
            open_images("folder", root, size=4, cache=cache)
        with pytest.raises(AssertionError, match="decoded again"):
            open_images("folder", root, size=8, channels=1, cache=cache)
        os.utime(root / "a" / "0.png", (1, 1))
        with pytest.raises(AssertionError, match="decoded again"):
            open_images("folder", root, size=8, cache=cache)
    assert len(list(cache.iterdir())) == 1
    write(root, "b/2.png")
    assert open_images("folder", root, size=8, cache=cache).n == 3


def test_a_cached_array_of_another_shape_is_refused(tmp_path) -> None:
    write(tmp_path / "images", "0.png")
    cache = tmp_path / "cache"
    open_images("folder", tmp_path / "images", size=8, cache=cache)
    (file,) = cache.iterdir()
    np.save(file, np.zeros((2, 3, 8, 8), np.uint8))
    with pytest.raises(
        ValueError, match=r"cached images '.*' must be uint8 of shape \(1, 3, 8, 8\).* remove the f"
    ):
        open_images("folder", tmp_path / "images", size=8, cache=cache)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cached images '.*' is truncated"):
        open_images("folder", tmp_path / "images", size=8, cache=cache)


def test_interrupted(tmp_path, monkeypatch) -> None:
    """Ctrl-C ends the threads after the image each is at, and leaves nothing in the cache."""
    write(tmp_path / "images", "0.png")
    files = ["0.png"] * 5000
    seen = []
    original = folder._decode_one

    def decode_one(*arguments):
        seen.append(1)
        if len(seen) == 100:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(folder, "_decode_one", decode_one)
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        folder.decode_files(tmp_path / "images", files, Decoding(8), tmp_path / "cache")
    assert threading.active_count() == threads
    assert len(seen) < 4000
    assert list((tmp_path / "cache").iterdir()) == []


def test_progress(tmp_path, capsys, terminal) -> None:
    write(tmp_path, "0.png", "1.png")
    open_images("folder", tmp_path, size=8)
    assert capsys.readouterr() == ("", "")
    open_images("folder", tmp_path, size=8, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "decoding: 100%" in err
    assert "2/2" in err
