"""Decoding: which files are pictures, how large they may be, and errors in other processes."""

import struct
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile, features

from pumlc.errors import UserError
from pumlc.vision.config import DataConfig
from pumlc.vision.data.bad_pictures import BadPictures
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import Pictures, batches_of, scoring_loader
from pumlc.vision.data.split import read_split
from pumlc.vision.data.transforms import evaluation_transform

TRANSFORM = evaluation_transform({"input_size": (3, 8, 8), "mean": (0,) * 3, "std": (1,) * 3})
POSTSCRIPT = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    b"0 0 8 8 rectfill\nshowpage\n%%EOF\n"
)


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
