"""How far the pixels of timm's transforms are from those of this package, by filter.

python experiments/resizing.py PICTURES --count 60 --size 224

It prints the mean absolute difference in levels of grey, of 255, on the first pictures by name.
"""

import argparse
from pathlib import Path
from typing import Any

from PIL import Image
from timm.data.transforms_factory import create_transform

from pumlc.vision import evaluation_transform, load_image

FILTERS = ("box", "hamming", "bilinear", "bicubic", "lanczos")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    scale: dict[str, Any] = {
        "input_size": (3, options.size, options.size),
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    own = evaluation_transform(scale)
    files = sorted(options.pictures.glob("*.jpg"))[: options.count]
    total = dict.fromkeys(FILTERS, 0.0)
    for file in files:
        pixels = own(image=load_image(file, at_least=own.decoded_size))["image"]
        for name in FILTERS:
            theirs: Any = create_transform(
                **scale, interpolation=name, crop_mode="squash", crop_pct=1.0
            )
            with Image.open(file) as picture:
                total[name] += float((pixels - theirs(picture.convert("RGB"))).abs().mean())
    print(f"N = {len(files)} pictures")
    for name, value in total.items():
        print(f"{name}: {255 * value / len(files):.2f}")


if __name__ == "__main__":
    main()
