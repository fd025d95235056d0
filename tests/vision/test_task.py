"""The vision task: augmentation, mixtures, freezing, scoring, validation."""

import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from pumlc.engine.config import TrainConfig
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.losses import LOSSES
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.loader import Pictures, TrainingPictures, decode
from pumlc.vision.data.split import training_data
from pumlc.vision.data.transforms import evaluation_transform, training_transform
from pumlc.vision.scoring import score_images, to_device, validate_logits
from pumlc.vision.task import VisionTask

STANDARD = {"input_size": (3, 28, 28), "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}


def vision_config(root, **changes):
    groups: dict[str, Any] = {
        "data": DataConfig(name="coco", root=str(root), image_size=32, augmentation="flip"),
        "model": ModelConfig(backbone="test_resnet"),
        "loss": LossConfig(name="bce", parameters={"unknown": "negative"}),
        "train": TrainConfig(epochs=1, batch_size=16, learning_rate=1e-2),
    }
    return VisionConfig(**{**groups, **changes})


def test_evaluation_transform_squashes_and_normalises():
    picture = np.full((10, 30, 3), 128, np.uint8)
    tensor = evaluation_transform(STANDARD)(image=picture)["image"]
    assert tensor.shape == (3, 28, 28)
    for channel in range(3):
        expected = (128 / 255 - STANDARD["mean"][channel]) / STANDARD["std"][channel]
        assert tensor[channel].mean() == pytest.approx(expected, abs=1e-4)
    with_none = training_transform(STANDARD, "none")(image=picture)["image"]
    torch.testing.assert_close(with_none, tensor)


def test_multi_scale_crop_crops_and_keeps_the_size():
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 1, 3))
    transform = training_transform(STANDARD, "multi-scale-crop")
    spreads = []
    for seed in range(30):
        transform.set_random_seed(seed)
        tensor = transform(image=ramp)["image"]
        assert tensor.shape == (3, 28, 28)
        spreads.append(float((tensor[0].max() - tensor[0].min()) * 0.2))
    # a crop of 4/7 of 8/7 shows half of the ramp, one of 8/7 all of it
    assert min(spreads) < 0.6
    assert max(spreads) > 0.9


def test_grey_transparent_and_rotated_pictures_become_upright_rgb(tmp_path):
    from PIL import Image

    Image.new("L", (4, 6), 7).save(tmp_path / "grey.png")
    Image.fromarray(np.full((6, 4), 0x80FF, np.uint16)).save(tmp_path / "grey16.png")
    Image.fromarray(np.full((6, 4), 0x80FF, np.int32)).convert("I;16").save(tmp_path / "grey16.pgm")
    Image.fromarray(np.zeros((6, 4), np.float32)).save(tmp_path / "float.tif")
    drawing = Image.new("RGBA", (4, 6))  # black, and nothing of it to be seen
    drawing.putpixel((1, 2), (10, 20, 30, 255))
    drawing.save(tmp_path / "transparent.png")
    drawing.quantize().save(tmp_path / "palette.png")
    rotated = Image.new("RGB", (4, 6))
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(tmp_path / "rotated.jpg", exif=exif)
    assert load_image(tmp_path / "grey.png").shape == (6, 4, 3)
    for name in ("grey16.png", "grey16.pgm"):
        assert (load_image(tmp_path / name) == np.full((6, 4, 3), 0x80)).all()
    with pytest.raises(ValueError, match=r"float\.tif: the picture cannot be decoded .*mode F"):
        load_image(tmp_path / "float.tif")
    on_white = np.full((6, 4, 3), 255)
    on_white[2, 1] = 10, 20, 30
    for picture in (tmp_path / "transparent.png", tmp_path / "palette.png", drawing):
        assert (load_image(picture) == on_white).all()
    assert load_image(tmp_path / "rotated.jpg").shape == (4, 6, 3)
    with pytest.raises(ValueError, match=r"\[H, W, 3\] of uint8, got \[4, 4\] float64"):
        load_image(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="a file, a PIL image or an RGB array .*, got int"):
        load_image(3)  # pyright: ignore[reportArgumentType]


def test_a_picture_that_does_not_decode_names_file_and_row(squares_coco, tmp_path):
    images = training_data(DataConfig(name="coco", root=str(squares_coco)), seed=0).train
    broken = tmp_path / "0.png"
    broken.write_bytes(images.path(3).read_bytes()[:40])
    moved = type(images)(
        images.source, tmp_path, np.array([b"0.png"]), images.labels[:1], images.classes
    )
    with pytest.raises(ValueError, match=r"0\.png \(row 0 of .*instances_train\.json\).*decoded"):
        decode(moved, 0, evaluation_transform(STANDARD))


def test_augmentation_is_a_function_of_seed_epoch_and_row(squares_coco):
    images = training_data(DataConfig(name="coco", root=str(squares_coco)), seed=0).train
    transform = training_transform(STANDARD, "multi-scale-crop")
    pictures = TrainingPictures(images, transform, seed=3)
    first = pictures[0, 5]["image"]
    others = [pictures[epoch, 5]["image"] for epoch in range(1, 6)]
    assert torch.equal(pictures[0, 5]["image"], first)
    assert not all(torch.equal(first, other) for other in others)


def test_published_freezing_leaves_the_rest_untouched(squares_coco):
    config = vision_config(
        squares_coco,
        model=ModelConfig(
            backbone="test_resnet",
            local_global=True,
            trainable=["layer4.*", "*global_branch*", "head.*"],
            batch_norm="frozen",
        ),
    )
    task = VisionTask(config)
    for name, parameter in task.model.named_parameters():
        if name.endswith("bn2.weight") or name.endswith("bn3.weight"):
            torch.nn.init.ones_(
                parameter
            )  # timm starts blocks at zero, which hides their gradients
    before = {name: value.clone() for name, value in task.model.state_dict().items()}
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.Adam(
        [p for p in task.model.parameters() if p.requires_grad], lr=1e-2, weight_decay=1e-2
    )
    task.model.train()
    for step, batch in enumerate(task.batches(0, accelerator)):
        optimizer.zero_grad()
        task.training_step(task.model, batch, accelerator, step)
        optimizer.step()
    for name, value in task.model.state_dict().items():
        moved = not torch.equal(value, before[name])
        bare = name.removeprefix("backbone.")
        trained = bare.startswith(("layer4.", "head.")) or "global_branch" in bare
        buffer = "running" in name or "num_batches" in name
        assert moved == (trained and not buffer), name


def test_scores_come_in_data_set_order_whatever_the_batch(squares_coco):
    task = VisionTask(vision_config(squares_coco))
    images = task.data.train.subset(np.arange(10, -1, -1))
    accelerator = Accelerator(cpu=True)
    whole = score_images(task.model, images, accelerator, batch_size=64, workers=0)
    parts = score_images(task.model, images, accelerator, batch_size=4, workers=0)
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-5)
    assert whole.shape == (11, 3)
    assert whole.dtype == np.float32
    transform = evaluation_transform(task.model.data_config)
    alone = to_device(
        Pictures(images, transform, range(2, 3))[0][None],
        accelerator.device,
        task.model.data_config,
    )
    task.model.eval()
    with torch.inference_mode():
        np.testing.assert_allclose(task.model(alone).numpy()[0], whole[2], atol=1e-4)


def test_validation_uses_known_labels_only():
    scores = np.array([[3.0], [2.0], [1.0], [0.0]])
    labels = np.array([[1], [0], [-1], [1]], np.int8)
    validation = validate_logits(scores, labels)
    assert validation.metrics == {"mAP": pytest.approx(100 * (1 + 2 / 3) / 2)}
    assert validation.score == validation.metrics["mAP"]


def test_validation_without_negatives_says_so_in_the_name():
    labels = np.array([[1], [0], [0], [1]], np.int8)
    validation = validate_logits(np.array([[3.0], [2.0], [1.0], [0.0]]), labels)
    assert validation.metrics == {"mAP_unknown_as_negative": pytest.approx(75.0)}
    with pytest.raises(ValueError, match="no known positive label"):
        validate_logits(np.zeros((3, 1)), np.zeros((3, 1), np.int8))


def test_one_known_negative_does_not_blind_the_other_classes():
    """Where all known labels are positive every ranking is perfect, whatever the other classes."""
    labels = np.zeros((40, 2), np.int8)
    labels[:10] = 1
    labels[-1, 0] = -1
    scores = np.arange(80.0).reshape(40, 2)  # the worst order: positives last
    validation = validate_logits(scores, labels)
    assert validation.score < 50
    assert list(validation.metrics) == ["mAP_unknown_as_negative"]


def test_validation_part_is_disjoint_and_seeded(squares_coco):
    config = DataConfig(name="coco", root=str(squares_coco), validation=0.25)
    data = training_data(config, seed=0)
    assert data.validation is not None
    assert len(data.validation) == 24
    assert not set(data.train.paths) & set(data.validation.paths)
    again, other = training_data(config, seed=0), training_data(config, seed=1)
    assert again.validation is not None
    assert other.validation is not None
    np.testing.assert_array_equal(data.validation.paths, again.validation.paths)
    assert set(data.validation.paths) != set(other.validation.paths)
    with pytest.raises(ValueError, match="leaves the held-out part or the rest empty"):
        training_data(DataConfig(name="coco", root=str(squares_coco), validation=0.001), seed=0)


def test_no_positive_label_is_refused(squares_coco):
    data = DataConfig(name="coco", root=str(squares_coco), known=1e-9, image_size=32)
    with pytest.raises(ValueError, match="no positive label"):
        VisionTask(vision_config(squares_coco, data=data))


def test_a_validation_part_without_a_positive_is_refused_before_the_first_epoch(
    squares_coco, tmp_path
):
    file = tmp_path / "labels.csv"
    rows = [f"train,train/{row}.png,{'red' if row else ''}" for row in range(20)]
    file.write_text("\n".join(["split,image,labels", *rows, "val,train/20.png,", ""]))
    data = DataConfig(name="csv", csv=str(file), root=str(squares_coco), image_size=32)
    with pytest.raises(ValueError, match=r"validation part \(1 pictures\) has no known positive"):
        VisionTask(vision_config(squares_coco, data=data))


FOCAL = {"gamma": 2.0, "alpha": None}
HILL = {"gamma": 2.0, "margin": 1.0, "turning": 1.5}
ASL = {"gamma_positive": 0.0, "gamma_negative": 4.0, "margin": 0.05}
PARTIAL_ASL = {**ASL, "gamma_unknown": 4.0}
GENERALIZED_ROBUST = {
    **{"slope": 0.0, "intercept": -2.0, "mean": 0.5, "deviation": 2.0},
    **{"q_positive": 0.01, "q_negative": 1.0},
}
SELECTIVE = {**PARTIAL_ASL, "mode": "selective"}
# does the loss leave out all unknown labels, so that nothing keeps it from predicting every class?
LEAVES_OUT_UNKNOWN = [
    ("bce", {"unknown": "ignore"}, True),
    ("focal", {**FOCAL, "unknown": "ignore"}, True),
    ("hill", {**HILL, "unknown": "ignore"}, True),
    ("asl", {**ASL, "unknown": "ignore"}, True),
    ("partial_asl", {**PARTIAL_ASL, "mode": "ignore"}, True),
    ("em", {"alpha": 0.0, "beta": 1.0}, True),
    ("squared", {"unknown": "ignore"}, True),
    ("reweighted", {"unknown": "ignore"}, True),
    ("bce", {"unknown": "negative"}, False),
    ("squared", {"unknown": "negative"}, False),
    ("reweighted", {"unknown": "negative"}, False),
    ("focal", {**FOCAL, "unknown": "negative"}, False),
    ("hill", {**HILL, "unknown": "negative"}, False),
    ("asl", {**ASL, "unknown": "negative"}, False),
    ("partial_asl", {**PARTIAL_ASL, "mode": "negative"}, False),
    ("partial_asl", {**SELECTIVE, "likelihood_top_k": 2}, False),  # of 3 classes: 1 is left
    ("em", {"alpha": 0.1, "beta": 1.0}, False),
    ("pu", {"gamma": 0.5, "alpha": 1.0}, False),
    ("pnu", {}, False),
    ("pnu", {"rejection": None}, False),
    ("nnpu", {"prior": 0.3, "surrogate": "sigmoid", "unlabeled": "rest"}, False),
    ("splc", {"threshold": 0.6, "gamma": 2.0, "margin": 1.0}, False),
    ("large_loss", {"rate": 0.9, "mode": "reject"}, False),
    ("generalized_robust", GENERALIZED_ROBUST, False),
]


def warned_of_positives_alone(config):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        VisionTask(config)
    return [str(w.message) for w in caught if "known to be negative" in str(w.message)]


@pytest.mark.parametrize(("loss", "parameters", "warned"), LEAVES_OUT_UNKNOWN)
def test_positives_alone_and_a_loss_that_leaves_out_the_unknown(
    squares_csv, loss, parameters, warned
):
    root = squares_csv.parent
    data = DataConfig(name="csv", csv=str(squares_csv), root=str(root), image_size=32)
    config = vision_config(root, data=data, loss=LossConfig(name=loss, parameters=parameters))
    found = warned_of_positives_alone(config)
    assert len(found) == warned
    for message in found:
        assert f"{loss} with" in message
        assert message.endswith(
            "labels that a row does not list are absent, set data.unlisted negative"
        )


def test_no_loss_is_left_out_above():
    need_more_than_labels = {"role", "softmax", "decoupled_softmax", "soft_topk"}
    assert {loss for loss, *_ in LEAVES_OUT_UNKNOWN} == set(LOSSES) - need_more_than_labels


def test_who_is_not_warned_of_positives_alone(squares_coco, squares_csv):
    loss = LossConfig(name="bce", parameters={"unknown": "ignore"})
    root = squares_csv.parent
    negatives = DataConfig(
        name="csv", csv=str(squares_csv), root=str(root), image_size=32, unlisted="negative"
    )
    assert not warned_of_positives_alone(vision_config(root, data=negatives, loss=loss))
    single = DataConfig(
        name="coco", root=str(squares_coco), protocol="single-positive", image_size=32
    )
    (message,) = warned_of_positives_alone(vision_config(squares_coco, data=single, loss=loss))
    assert message.endswith("with unknown: negative")  # data.unlisted is of CSV files


def test_a_csv_file_with_a_class_spelled_twice_is_warned_of(squares_csv, tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text(squares_csv.read_text().replace("red|green", "Red|green"))
    data = DataConfig(name="csv", csv=str(file), root=str(squares_csv.parent), image_size=32)
    with pytest.warns(UserWarning, match=r"labels\.csv: 'Red' / 'red' differ only in case"):
        VisionTask(vision_config(squares_csv.parent, data=data))


def test_loss_names_of_the_configs_exist():
    assert {"pu", "bce"} <= set(LOSSES)


def test_run_folder_prefers_the_best_validation(tmp_path):
    run = RunFolder(tmp_path)
    run.start({}, {}, 1)
    with pytest.raises(ValueError, match="no weights 'last'; saved: none"):
        run.weights_file("last")
    run.add_to_index("last", {"epoch": 4, "score": None})
    assert run.preferred_weights() == "last"
    run.add_to_index("last-ema", {"epoch": 4, "score": None})
    assert run.preferred_weights() == "last-ema"
    run.add_to_index("best", {"epoch": 1, "score": 50.0})
    run.add_to_index("best-ema", {"epoch": 2, "score": 40.0})
    assert run.preferred_weights() == "best"
    run.add_to_index("last", {"epoch": 4, "score": 50.0})  # as good, and trained for longer
    assert run.preferred_weights() == "last"


def test_a_run_with_the_ssgrl_head_loads_again(squares_coco, tmp_path):
    from pumlc.engine.checkpoint import save_weights
    from pumlc.vision.models.build import build_trained

    vectors = tmp_path / "vectors.txt"
    vectors.write_text("red 1 0 0 2\ngreen 0 1 0 2\nblue 0 0 1 2\n")
    settings: dict[str, Any] = {"backbone": "test_resnet", "head": "ssgrl"}
    with pytest.raises(ValueError, match=r"needs model\.label_vectors"):
        VisionTask(vision_config(squares_coco, model=ModelConfig(**settings)))
    settings["label_vectors"] = str(vectors)
    config = vision_config(squares_coco, model=ModelConfig(**settings))
    task = VisionTask(config)
    save_weights(tmp_path / "w.safetensors", task.model.state_dict())
    again = build_trained(config, 3, tmp_path / "w.safetensors").eval()
    pictures = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again(pictures), task.model.eval()(pictures))


def test_a_transformer_trains_by_config_without_branches(squares_coco):
    settings: dict[str, Any] = {"backbone": "test_vit", "head": "ml_decoder"}
    data = DataConfig(name="coco", root=str(squares_coco), image_size=160, augmentation="flip")
    with pytest.warns(UserWarning, match=r"model\.local_global: test_vit has no 3x3 convolution"):
        VisionTask(
            vision_config(squares_coco, data=data, model=ModelConfig(local_global=True, **settings))
        )
    task = VisionTask(vision_config(squares_coco, data=data, model=ModelConfig(**settings)))
    assert task.facts()["local_global"] == []
    accelerator = Accelerator(cpu=True)
    batch = next(iter(task.batches(0, accelerator)))
    parts = task.training_step(task.model, batch, accelerator, 0)
    assert np.isfinite(parts["bce"])
    assert all(p.grad is not None for p in task.model.parameters())


def test_the_label_graph_counts_what_training_may_see(squares_coco, tmp_path):
    from pumlc.vision.models.class_vectors import label_graph

    vectors = tmp_path / "vectors.txt"
    vectors.write_text("red 1 0 0 2\ngreen 0 1 0 2\nblue 0 0 1 2\n")
    data = DataConfig(name="coco", root=str(squares_coco), known=0.3, validation=0.25)
    model = ModelConfig(backbone="test_resnet", head="ssgrl", label_vectors=str(vectors))
    task = VisionTask(vision_config(squares_coco, data=data, model=model))
    graph = task.model.head.get_buffer("graph.graph")
    assert torch.equal(graph, label_graph(task.data.train.labels))
    complete = training_data(DataConfig(name="coco", root=str(squares_coco)), seed=0).train.labels
    assert not torch.equal(graph, label_graph(complete))


@pytest.mark.parametrize("value", ["ignored", 3.0])
def test_a_value_the_loss_does_not_take_is_refused_at_once(value):
    with pytest.raises(UserError, match=r"loss\.parameters\.unknown must be 'ignore' or 'neg"):
        LossConfig(name="bce", parameters={"unknown": value})


def test_what_only_the_data_can_refuse_is_refused_by_the_task(squares_coco):
    """A bound on the number of classes, and a tensor that only heads on features can make."""
    top = LossConfig(name="partial_asl", parameters={**SELECTIVE, "likelihood_top_k": 4})
    with pytest.raises(UserError, match="likelihood_top_k must be .* number of classes, 3"):
        VisionTask(vision_config(squares_coco, loss=top))
    prior: dict[str, Any] = {"prior": "known", "surrogate": "sigmoid", "unlabeled": "rest"}
    known = LossConfig(name="nnpu", parameters=prior)
    with pytest.raises(UserError, match=r"loss\.parameters\.prior must be .*, got 'known'"):
        VisionTask(vision_config(squares_coco, loss=known))


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_batches_of_one(squares_coco, batch_norm):
    """On a map of one pixel, where torch would name no setting."""
    config = vision_config(
        squares_coco,
        model=ModelConfig(backbone="test_resnet", batch_norm=batch_norm),
        train=TrainConfig(epochs=1, batch_size=1, learning_rate=1e-2),
    )
    if batch_norm == "train":
        with pytest.raises(UserError, match=r"train\.batch_size 1: .*model\.batch_norm frozen"):
            VisionTask(config)
        return
    task, accelerator = VisionTask(config), Accelerator(cpu=True)
    task.model.train()
    batch = next(iter(task.batches(0, accelerator)))
    assert np.isfinite(task.training_step(task.model, batch, accelerator, 0)["loss"])


def test_batches_of_one_in_a_network_without_batch_norm(squares_coco):
    model, train = (
        ModelConfig(backbone="test_vit", batch_norm="train"),
        TrainConfig(epochs=1, batch_size=1, learning_rate=1e-2),
    )
    assert VisionTask(vision_config(squares_coco, model=model, train=train))


@pytest.mark.parametrize(
    ("backbone", "head", "size", "reason"),
    [
        ("hrnet_w18_small", "linear", 33, "33 x 33 pixels .data.image_size"),
        ("test_vit", "ssgrl", 160, "model.head ssgrl cannot take .*map"),
    ],
)
def test_what_the_network_cannot_take_is_refused_before_training(
    squares_coco, tmp_path, backbone, head, size, reason
):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("red 1 0 0 2\ngreen 0 1 0 2\nblue 0 0 1 2\n")
    model = ModelConfig(
        backbone=backbone, head=head, label_vectors=str(vectors) if head == "ssgrl" else None
    )
    data = DataConfig(name="coco", root=str(squares_coco), image_size=size)
    with pytest.raises(UserError, match=reason):
        VisionTask(vision_config(squares_coco, data=data, model=model))


def test_a_held_out_part_without_a_negative_is_refused(squares_coco, tmp_path):
    file = tmp_path / "labels.csv"
    rows = [f"train,train/{row}.png,{'red' if row else ''}" for row in range(20)]
    file.write_text("\n".join(["split,image,labels", *rows, "val,train/20.png,red", ""]))
    data = DataConfig(name="csv", csv=str(file), root=str(squares_coco), image_size=32)
    with pytest.raises(UserError, match="split validation: .*without a negative label"):
        VisionTask(vision_config(squares_coco, data=data))


def test_facts_are_plain_and_say_what_is_trained(squares_coco):
    settings: dict[str, Any] = {"backbone": "test_resnet", "local_global": True}
    whole = VisionTask(vision_config(squares_coco, model=ModelConfig(**settings)))
    part = VisionTask(
        vision_config(squares_coco, model=ModelConfig(train_stages=1, train_branches=2, **settings))
    )
    facts = part.facts()
    json.dumps(facts, allow_nan=False)
    assert facts["local_global_convolutions"] == len(facts["local_global"]) == 9
    assert facts["starting_weights"] == "random"
    trained = [n for n, p in part.model.named_parameters() if p.requires_grad]
    assert all("layer4" in n or "head" in n or "layer3" in n for n in trained)
    assert all("global_branch" in n for n in trained if "layer3" in n)
    count = sum(p.numel() for p in part.model.parameters() if p.requires_grad)
    assert facts["trained_parameters"] == count < whole.facts()["trained_parameters"]
    assert facts["untrained_classes"] == []


def test_patterns_decide_in_the_place_of_stages(squares_coco):
    model = ModelConfig(backbone="test_resnet", train_stages=2, trainable=["head.*"])
    task = VisionTask(vision_config(squares_coco, model=model))
    trained = [n for n, p in task.model.named_parameters() if p.requires_grad]
    assert trained == ["head.weight", "head.bias"]


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "local-dir:/tmp/model"])
def test_a_backbone_that_would_be_downloaded_is_refused(name):
    with pytest.raises(UserError, match=r"model\.backbone must be a name of timm.*model\.weights"):
        ModelConfig(backbone=name)


def test_none_is_a_way_to_say_random_weights():
    assert ModelConfig(backbone="test_resnet", weights="none").weights is None
    with pytest.raises(UserError, match=r"model\.train_stages must be at least 0"):
        ModelConfig(backbone="test_resnet", train_stages=-1)


def head_gradient(squares_coco, class_weights) -> torch.Tensor:
    loss = LossConfig(
        name="pu",
        parameters={"gamma": 0.5, "alpha": 1.0},
        mixup_weight=1.0,
        class_weights=class_weights,
    )
    torch.manual_seed(0)
    task, accelerator = VisionTask(vision_config(squares_coco, loss=loss)), Accelerator(cpu=True)
    task.start(accelerator)
    task.model.eval()
    batch = next(iter(task.batches(0, accelerator)))
    torch.manual_seed(1)
    task.training_step(task.model, batch, accelerator, 0)
    gradient = task.model.get_parameter("head.weight").grad
    assert gradient is not None
    return gradient


def test_class_weights_multiply_the_gradients_of_the_head(squares_coco):
    plain = head_gradient(squares_coco, {})
    weighed = head_gradient(squares_coco, {"green": 3.0, "blue": 0.0})
    assert plain.abs().max(1).values.min() > 0
    torch.testing.assert_close(weighed, plain * torch.tensor([[1.0], [3.0], [0.0]]))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"gren": 2.0}, "loss.class_weights: no class 'gren'; did you mean 'green'"),
        ({"green": -1.0}, "loss.class_weights.green must be a finite number of at least 0, got -1"),
        ({"green": np.inf}, "loss.class_weights.green must be a finite number"),
    ],
)
def test_class_weights_that_are_none(squares_coco, weights, message):
    with pytest.raises(UserError, match=message):
        head_gradient(squares_coco, weights)
