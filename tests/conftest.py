"""Fixtures of the whole suite: the real data beside the checkout, tiny data, the tools."""

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

collect_ignore = [
    "reliability",  # scripts that start themselves anew when they are imported: `make reliability`
    "runs/finished_runs.py",  # a plugin, which is to be imported as one
]

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared"

# the same examples in every run; no deadline, since a loaded machine is no defect of the code
settings.register_profile("pumlc", derandomize=True, deadline=None)
settings.load_profile("pumlc")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real pictures, weights and golden values; the test is skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("needs the development data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared) -> dict[str, np.ndarray]:
    """Values computed by the released codes, ``case/field`` -> array."""
    with np.load(shared / "golden" / "reference_values.npz", allow_pickle=True) as archive:
        return {name: archive[name] for name in archive.files}


@pytest.fixture(scope="session")
def tool():
    """Import an entry point of tools/ by name; every call starts from a fresh accelerator."""

    def load(name: str) -> ModuleType:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)
        specification = importlib.util.spec_from_file_location(
            f"tool_{name}", ROOT / "tools" / f"{name}.py"
        )
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return load


COLOURS = {"red": (220, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 220)}


def coloured_squares(random: np.random.RandomState, present: list[str], side: int = 32):
    """A noisy picture with one square per present colour: learnable in seconds."""
    picture = random.randint(0, 60, (side, side, 3)).astype(np.uint8)
    for name in present:
        row, column = random.randint(0, side - 12, 2)
        picture[row : row + 12, column : column + 12] = COLOURS[name]
    return Image.fromarray(picture)


@pytest.fixture(scope="session")
def squares_coco(tmp_path_factory) -> Path:
    """A COCO-format data set of coloured squares: 96 training pictures, 33 of test, 3 classes."""
    root = tmp_path_factory.mktemp("coco")
    names = list(COLOURS)
    (root / "annotations").mkdir()
    for seed, (split, count) in enumerate({"train": 96, "val": 33}.items()):
        random = np.random.RandomState(seed)
        (root / split).mkdir()
        images, annotations = [], []
        for image_id in range(count):
            present = [name for name in names if random.rand() < 0.4]
            picture = coloured_squares(random, present)
            picture.save(root / split / f"{image_id}.png")
            images.append({"id": image_id, "file_name": f"{image_id}.png"})
            annotations += [
                {
                    "id": len(annotations) + i,
                    "image_id": image_id,
                    "category_id": names.index(n) + 1,
                }
                for i, n in enumerate(present)
            ]
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def squares_csv(squares_coco) -> Path:
    """The same pictures as a CSV file; training rows list only some of what is there."""
    random = np.random.RandomState(7)
    lines = ["split,image,labels"]
    for split, name in (("train", "train"), ("val", "test")):
        content = json.loads((squares_coco / "annotations" / f"instances_{split}.json").read_text())
        names = {c["id"]: c["name"] for c in content["categories"]}
        for image in content["images"]:
            present = [
                names[a["category_id"]]
                for a in content["annotations"]
                if a["image_id"] == image["id"] and (split == "val" or random.rand() < 0.5)
            ]
            lines.append(f"{name},{split}/{image['file_name']},{'|'.join(present)}")
    file = squares_coco / "labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium; the test is skipped where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()
