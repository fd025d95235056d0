"""Decoding: which files are pictures, how large they may be, and errors in other processes."""

import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageFile, features

from pumlc.errors import UserError
from pumlc.vision.config import DataConfig
from pumlc.vision.data import decode
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import Pictures, batches_of, scoring_loader
from pumlc.vision.data.split import read_split
from pumlc.vision.data.transforms import evaluation_transform, training_transform
from pumlc.vision.models.classifier import create_classifier

TRANSFORM = evaluation_transform({"input_size": (3, 8, 8), "mean": (0,) * 3, "std": (1,) * 3})
POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    b"0 0 8 8 rectfill\nshowpage\n%%EOF\n"
)


def saved(form, **options):
    content = io.BytesIO()
    scene = np.random.RandomState(0).randint(0, 255, (12, 16, 3)).astype(np.uint8)
    Image.fromarray(scene).save(content, form, **options)
    return content.getvalue()


PICTURES = {
    **{form: saved(form) for form in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")},
    "lzw": saved("TIFF", compression="tiff_lzw"),
    **{
        form: saved(form)
        for form, codec in {"JPEG2000": "jpg_2000", "AVIF": "avif"}.items()
        if features.check(codec)
    },
}


def write_png(file, side):
    """A black and white picture of ``side`` x ``side`` pixels; nothing of it is in memory."""

    def chunk(name, content):
        checksum = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compressobj()
    row = bytes(1 + (side + 7) // 8)
    content = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()
    signature = b"\x89PNG\r\n\x1a\n"
    file.write_bytes(
        signature + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    )


def test_postscript_is_never_run_whatever_its_name(tmp_path, monkeypatch):
    def run(*arguments, **options):
        raise AssertionError("Ghostscript was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    for name in ("drawing.eps", "photo.jpg", "photo.png"):
        (tmp_path / name).write_bytes(POSTSCRIPT)
        with pytest.raises(UserError, match=rf"{name}: .*decoded .*none of JPEG, PNG, WEBP"):
            load_image(tmp_path / name)


def test_every_raster_format_is_read(tmp_path):
    picture = Image.new("RGB", (6, 4), (250, 250, 250))
    suffixes = ["jpg", "png", "webp", "gif", "bmp", "tif", "ppm"]
    optional = {"jp2": "jpg_2000", "avif": "avif"}
    suffixes += [suffix for suffix, codec in optional.items() if features.check(codec)]
    for suffix in suffixes:
        picture.save(tmp_path / f"a.{suffix}")
    picture.save(tmp_path / "a.mpo", save_all=True, append_images=[picture])
    for file in tmp_path.iterdir():
        decoded = load_image(file)
        assert decoded.shape == (4, 6, 3), file
        assert abs(decoded.astype(int) - 250).max() < 4, file


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.png"
    write_png(bomb, 13_000)
    assert bomb.stat().st_size < 25_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    message = r"bomb\.png: a picture of 13000 x 13000 pixels; data\.max_pixels is 100000000"
    with (
        pytest.warns(Image.DecompressionBombWarning),
        pytest.raises(UserError, match=message),
    ):
        load_image(bomb)


def test_the_limit_of_pixels_is_a_setting_of_the_data(squares_coco):
    config = DataConfig(name="coco", root=str(squares_coco), max_pixels=32 * 32 - 1)
    images = read_split(config, "train")
    pictures = Pictures(images, TRANSFORM, range(3))
    message = r"0\.png \(row 0 of .*\): a picture of 32 x 32 pixels; data.max_pixels is 1023"
    with pytest.raises(UserError, match=message):
        pictures[0]
    config = DataConfig(name="coco", root=str(squares_coco), max_pixels=32 * 32)
    assert Pictures(read_split(config, "train"), TRANSFORM, range(3))[0].shape == (8, 8, 3)
    for value in (0, 178_956_971):
        with pytest.raises(UserError, match="data.max_pixels must be between 1 and 178956970"):
            DataConfig(name="coco", root="x", max_pixels=value)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_an_error_of_a_worker_is_told_as_one_of_this_process(tmp_path, workers):
    paths = np.array([f"{row}.png".encode() for row in range(6)])
    for path in paths:
        Image.new("RGB", (6, 4)).save(tmp_path / path.decode())
    (tmp_path / "4.png").write_bytes((tmp_path / "4.png").read_bytes()[:40])
    images = LabelledImages("a.csv", tmp_path, paths, np.ones((6, 1), np.int8), ("a",))
    with pytest.raises(UserError) as direct:
        Pictures(images, TRANSFORM, range(6))[4]
    loader = scoring_loader(Pictures(images, TRANSFORM, range(6)), 2, workers)
    batches = batches_of(loader, BadPictures(images))
    assert [len(next(batches).content) for _ in range(2)] == [2, 2]
    with pytest.raises(UserError) as told:
        next(batches)
    assert str(told.value) == str(direct.value)
    assert type(told.value) is UserError


class Faulty(Pictures):
    def read(self, index):
        raise KeyError("a fault of the program")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_fault_of_the_program_keeps_its_type(tmp_path, workers):
    images = LabelledImages("a.csv", tmp_path, np.array([b"a"]), np.ones((1, 1), np.int8), ("a",))
    loader = scoring_loader(Faulty(images, TRANSFORM, range(1)), 1, workers)
    with pytest.raises(KeyError, match="a fault of the program"):
        list(batches_of(loader, BadPictures(images)))


@pytest.mark.parametrize("augmentation", ["multi-scale-crop", "flip", "none"])
def test_pictures_of_a_size_that_is_no_square(augmentation):
    config = {"input_size": (3, 21, 14), "mean": (0,) * 3, "std": (1,) * 3}
    picture = np.random.RandomState(0).randint(0, 255, (40, 30, 3)).astype(np.uint8)
    transform = training_transform(config, augmentation)
    assert all(transform(image=picture)["image"].shape == (3, 21, 14) for _ in range(10))
    assert evaluation_transform(config)(image=picture)["image"].shape == (3, 21, 14)


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_a_network_takes_pictures_that_are_no_squares(backbone):
    data = DataConfig(name="coco", root="x", image_size=[64, 32])
    assert data.input_size == (64, 32)
    model = create_classifier(
        backbone, 2, local_global=False, head="linear", weights=None, image_size=data.input_size
    )
    assert model.data_config["input_size"] == (3, 64, 32)
    assert model.eval()(torch.zeros(1, 3, 64, 32)).shape == (1, 2)
    for size in ([64], [64, 32, 3], [0, 3], []):
        with pytest.raises(UserError, match=r"data\.image_size must be a side or \[height, width"):
            DataConfig(name="coco", root="x", image_size=size)


def test_pictures_of_phones(tmp_path, monkeypatch):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Image.new("RGB", (64, 48), (250, 20, 20)).save(tmp_path / "a.heic")
    decoded = load_image(tmp_path / "a.heic")
    assert decoded.shape == (48, 64, 3)
    assert abs(decoded.astype(int) - (250, 20, 20)).max() < 12
    monkeypatch.setattr(decode, "_formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(UserError, match=r"a\.heic: .*HEIC needs .*pumlc\[formats\]"):
        load_image(tmp_path / "a.heic")


def test_what_is_no_file_is_named_at_once(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in (
        ("folder.png", "not a file"),
        ("pipe.png", "not a file"),
        ("loop.png", "cannot be decoded"),
        ("absent.png", "no such picture"),
    ):
        with pytest.raises(UserError, match=f"{name}: .*{message}"):
            load_image(tmp_path / name)


@pytest.mark.skipif("JPEG2000" not in PICTURES, reason="Pillow without JPEG 2000")
def test_a_damaged_length_is_not_believed(tmp_path):
    content, length = PICTURES["JPEG2000"], (2**62).to_bytes(8, "big")
    box = content.index(b"jp2h")
    (tmp_path / "a.jp2").write_bytes(
        content[: box - 4] + b"\0\0\0\1jp2h" + length + content[box + 4 :]
    )
    with pytest.raises(UserError, match=r"a\.jp2: the picture cannot be decoded \(MemoryError\)"):
        load_image(tmp_path / "a.jp2")


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_picture_is_one_line_that_names_it(data):
    name = data.draw(st.sampled_from(sorted(PICTURES)))
    content = bytearray(PICTURES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content), 400) - 1))
        content[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"damaged.{name}")
        file.write_bytes(content[: data.draw(st.integers(1, len(content)))])
        problem = None
        try:
            decoded = load_image(file)
        except UserError as error:
            problem = str(error)
        else:
            assert decoded.dtype == np.uint8
            assert decoded.shape[2:] == (3,)
    assert problem is None or f"damaged.{name}" in problem
