"""Decoding at the size that is needed, and the pixels that every part of the package sees."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it must not ask the network

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pumlc.errors import UserError
from pumlc.vision import load_image
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.loader import Pictures, TrainingPictures
from pumlc.vision.data.transforms import (
    PictureTransform,
    evaluation_transform,
    normalised,
    training_transform,
)

CONFIG = {"input_size": (3, 56, 56), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def photo(height, width, seed=0):
    """Shapes of all sizes, edges, colours and a little noise."""
    random = np.random.RandomState(seed)
    picture = np.zeros((height, width, 3))
    for cells in (3, 11, 41):
        coarse = random.rand(cells, cells, 3).astype(np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 80
    picture[height // 3 : height // 2, width // 4 : width // 2] = 250, 20, 60
    picture += random.normal(0, 6, picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8)


def write_photo(path, height, width, orientation=1):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo(height, width)).save(path, quality=92, exif=exif)
    return path


@pytest.mark.parametrize(
    ("at_least", "shape"),
    [
        (None, (960, 1280)),
        (481, (960, 1280)),
        (480, (480, 640)),
        (240, (240, 320)),
        (120, (120, 160)),
        (1, (120, 160)),
        ((100, 200), (240, 320)),
        ((200, 100), (240, 320)),
        (5000, (960, 1280)),
    ],
)
def test_a_photo_is_decoded_at_the_smallest_size_that_is_enough(tmp_path, at_least, shape):
    file = write_photo(tmp_path / "a.jpg", 960, 1280)
    assert load_image(file, at_least=at_least).shape == (*shape, 3)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_height_and_width_are_those_of_the_upright_picture(tmp_path, orientation):
    file = write_photo(tmp_path / "a.jpg", 960, 1280, orientation)
    upright = (320, 240, 3) if orientation in (6, 8) else (240, 320, 3)
    assert load_image(file, at_least=upright[:2]).shape == upright
    higher = (upright[0] + 1, upright[1])
    assert load_image(file, at_least=higher).shape == (2 * upright[0], 2 * upright[1], 3)


@pytest.mark.parametrize("side", [56, 100, 224])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("shape", [(1500, 2000), (1497, 1993)])
def test_the_pixels_of_a_photo_are_nearly_those_of_the_full_decode(
    tmp_path, side, orientation, shape
):
    file = write_photo(tmp_path / "a.jpg", shape[0], shape[1], orientation)
    transform = evaluation_transform({**CONFIG, "input_size": (3, side, side)})
    small = load_image(file, at_least=transform.decoded_size)
    full = load_image(file)
    assert small.shape[0] < full.shape[0] / 3
    difference = transform.pixels(small).float() - transform.pixels(full).float()
    assert difference.abs().mean() < 2
    assert difference.mean().abs() < 0.2  # no shift of brightness


@pytest.mark.parametrize(("height", "rows"), [(960, 240), (961, 240), (963, 241)])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_last_row_of_less_than_half_is_cut_off(tmp_path, height, rows, orientation):
    """The decoder rounds up, and its last row stands for pixels that are not there."""
    file = write_photo(tmp_path / "a.jpg", height, 1280, orientation)
    shape = (rows, 320, 3) if orientation != 6 else (320, rows, 3)
    small, full = load_image(file, at_least=240), load_image(file)
    assert small.shape == shape
    reached = cv2.resize(full, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - reached).mean() < 1


def test_a_small_picture_and_other_formats_keep_every_bit(tmp_path):
    file = write_photo(tmp_path / "a.jpg", 256, 341)
    Image.fromarray(photo(600, 600)).save(tmp_path / "a.png")
    assert (load_image(file, at_least=256) == np.asarray(Image.open(file))).all()
    assert (load_image(tmp_path / "a.png", at_least=10) == photo(600, 600)).all()


@pytest.mark.parametrize("kind", ["grey", "cmyk", "mpo"])
def test_jpeg_files_of_every_kind_are_decoded_smaller(tmp_path, kind):
    picture = Image.fromarray(photo(800, 800))
    file = tmp_path / ("a.mpo" if kind == "mpo" else "a.jpg")
    modes = {"grey": "L", "cmyk": "CMYK", "mpo": "RGB"}
    extra = {"save_all": True, "append_images": [picture]} if kind == "mpo" else {}
    picture.convert(modes[kind]).save(file, quality=95, **extra)
    small = load_image(file, at_least=100)
    assert small.shape == (100, 100, 3)
    full = cv2.resize(load_image(file), (100, 100), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - full).mean() < 2


def test_the_limit_of_pixels_is_one_of_the_file(tmp_path):
    file = write_photo(tmp_path / "a.jpg", 400, 400)
    with pytest.raises(UserError, match="400 x 400 pixels; data.max_pixels is 159999"):
        load_image(file, at_least=50, max_pixels=159_999)
    with pytest.raises(ValueError, match=r"at_least must be 1 or more, got \(0, 3\)"):
        load_image(file, at_least=(0, 3))


def test_a_cut_off_photo_is_refused_at_every_size(tmp_path):
    file = write_photo(tmp_path / "a.jpg", 800, 800)
    file.write_bytes(file.read_bytes()[:-2000])
    for at_least in (None, 100):
        with pytest.raises(UserError, match=r"a\.jpg: the picture cannot be decoded"):
            load_image(file, at_least=at_least)


def test_training_and_scoring_decode_the_same_pixels(tmp_path):
    write_photo(tmp_path / "a.jpg", 460, 500)  # half of it is enough for 224 pixels, not for 256
    images = LabelledImages(
        "a.csv", tmp_path, np.array([b"a.jpg"]), np.ones((1, 1), np.int8), ("a",)
    )
    config = {**CONFIG, "input_size": (3, 224, 224)}
    scored = Pictures(images, evaluation_transform(config), range(1))[0]
    assert scored.dtype == torch.uint8
    trained = TrainingPictures(images, training_transform(config, "none"), seed=0)[0, 0]["image"]
    assert torch.equal(trained, scored)
    crop = training_transform(config, "multi-scale-crop")
    assert crop.decoded_size == training_transform(config, "flip").decoded_size == (256, 256)


def albumentations_pipeline(config, augmentation):
    """The published augmentation, composed of another library's parts."""
    height, width = config["input_size"][1:]

    def resize(height, width):
        return A.Resize(height, width, area_for_downscale="image")

    steps: list[A.BasicTransform | A.BaseCompose] = [resize(height, width)]
    if augmentation != "none":
        steps.append(A.HorizontalFlip(p=0.5))
    if augmentation == "multi-scale-crop":
        sides = [(round(height * k / 7), round(width * k / 7)) for k in (8, 7, 6, 5, 4)]
        crops = A.OneOf([A.RandomCrop(*side) for side in sides], p=1.0)
        steps = [resize(*sides[0]), crops, *steps]
    return A.Compose([*steps, A.Normalize(config["mean"], config["std"]), A.ToTensorV2()])


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["multi-scale-crop", "flip", "none"]),
    st.tuples(st.integers(7, 40), st.integers(7, 40)),
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.integers(0, 2**32 - 1),
)
def test_the_transform_is_bit_for_bit_that_of_albumentations(augmentation, size, shape, seed):
    config = {**CONFIG, "input_size": (3, *size)}
    picture = np.random.RandomState(seed).randint(0, 256, (*shape, 3), np.uint8)
    ours, oracle = (
        training_transform(config, augmentation),
        albumentations_pipeline(config, augmentation),
    )
    for each in (seed, seed // 3):
        ours.set_random_seed(each)
        oracle.set_random_seed(each)
        result = ours(image=picture)["image"]
        assert torch.equal(result, oracle(image=picture)["image"])
        assert result.is_contiguous()


def test_pixels_may_be_written_and_leave_the_picture_alone(tmp_path):
    file = write_photo(tmp_path / "a.jpg", 56, 56)
    transform = PictureTransform(CONFIG)
    picture = load_image(file)
    before = picture.copy()
    transform.pixels(picture).zero_()
    assert (picture == before).all()


def test_normalised_has_the_layout_of_the_network():
    pixels = torch.randint(0, 256, (2, 5, 7, 3), dtype=torch.uint8)
    result = normalised(pixels, CONFIG["mean"], CONFIG["std"])
    assert result.shape == (2, 3, 5, 7)
    assert result.is_contiguous(memory_format=torch.channels_last)
    mean, std = (torch.tensor(CONFIG[name]).view(3, 1, 1) for name in ("mean", "std"))
    torch.testing.assert_close(result, (pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
