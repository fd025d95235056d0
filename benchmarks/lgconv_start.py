"""How near a converted pretrained network is to the original, before any training.

    python benchmarks/lgconv_start.py --weights tf_efficientnet_lite0.safetensors --pictures FOLDER

Counts the pictures on which both have the same most probable ImageNet class.
"""

import argparse
import copy
from pathlib import Path

import timm
import torch
from timm.data.config import resolve_model_data_config

from pumlc.vision import add_local_global
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.transforms import evaluation_transform


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="timm name")
    parser.add_argument("--weights", required=True, help="file with its classification layer")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of .jpg")
    parser.add_argument("--kernel-sizes", type=int, nargs="+", default=[3])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain = timm.create_model(options.backbone, checkpoint_path=options.weights).eval()
    converted = []
    for seed in range(options.seeds):
        torch.manual_seed(seed)
        model = copy.deepcopy(plain)
        names = add_local_global(model, kernel_sizes=tuple(options.kernel_sizes))
        converted.append(model)
    transform = evaluation_transform(resolve_model_data_config(plain))
    paths = sorted(options.pictures.rglob("*.jpg"))
    same, total, difference, spread = 0, 0, 0.0, []
    for start in range(0, len(paths), 32):
        batch = [transform(image=load_image(p))["image"] for p in paths[start : start + 32]]
        with torch.inference_mode():
            images = torch.stack(batch)
            expected = plain(images)
            spread.append(expected.std().item())
            for model in converted:
                logits = model(images)
                same += int((logits.argmax(1) == expected.argmax(1)).sum())
                total += len(logits)
                difference = max(difference, (logits - expected).abs().max().item())
    print(
        f"{options.backbone}, {len(names)} convolutions converted, {len(paths)} pictures, "
        f"{options.seeds} seeds: same top-1 class {same} of {total} ({100 * same / total:.2f} %), "
        f"largest logit difference {difference:.4f} (logits' spread "
        f"{sum(spread) / len(spread):.2f})"
    )


if __name__ == "__main__":
    main()
