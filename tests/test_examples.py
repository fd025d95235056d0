"""The examples run from top to bottom in an empty folder, and reach what they show."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def output_of(name: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=folder,
        env=os.environ | {"HOME": str(folder)},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_has_a_test():
    here = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in here] == []


def test_noisy_labels_become_fewer_and_the_classifier_better(tmp_path):
    printed = output_of("noisy_labels.py", tmp_path)
    found = re.findall(r"decisions: (\d+) labels wrong, test mAP ([\d.]+)", printed)
    wrong, quality = ([float(value) for value in column] for column in zip(*found, strict=True))
    assert len(found) == 4
    assert wrong == sorted(wrong, reverse=True)
    assert quality[-1] > quality[0] + 1


def test_extreme_labels_are_found(tmp_path):
    printed = output_of("extreme_labels.py", tmp_path)
    assert float(re.findall(r"P@1 ([\d.]+)", printed)[0]) > 20  # chance: 0.005


def test_own_loop_trains_with_three_losses(tmp_path):
    printed = output_of("own_loop.py", tmp_path)
    quality = [float(value) for value in re.findall(r"test mAP ([\d.]+)", printed)]
    assert len(quality) == 3
    assert min(quality) > 50  # chance: 40


@pytest.mark.slow
def test_own_photos_are_cleaned(tmp_path):
    printed = output_of("own_photos.py", tmp_path)
    assert int(re.findall(r"(\d+) labels changed", printed)[0]) > 50
    assert (tmp_path / "report.html").is_file()


@pytest.mark.slow
def test_partial_labels_of_the_stand_in(tmp_path):
    printed = output_of("partial_labels_voc.py", tmp_path)
    assert re.search(r"\| pnu +\|", printed)
    assert (tmp_path / "sweeps/partial_labels/chosen.csv").is_file()
