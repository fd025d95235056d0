"""From a CSV file of careless tags to a corrected one, and to tags for new pictures.

python examples/own_photos.py                          small drawings, made by `pumlc demo`
python examples/own_photos.py labels.csv PICTURES      your own: columns split,image,labels

Needs pumlc[offline]. The commands are the same that you would type.
"""

import csv
import subprocess
import sys
from pathlib import Path

import pumlc


def command(*arguments: str) -> None:
    """Run ``pumlc ARGUMENTS``, and stop where it fails."""
    print("$ pumlc", *arguments, flush=True)
    subprocess.run([sys.executable, "-m", "pumlc", *arguments], check=True)


def decide(suspects: Path, out: Path) -> int:
    """What a person does on the review page; here every suspect is confirmed as an error.

    Returns:
        The number of decisions.
    """
    with open(suspects, newline="") as file:
        rows = list(csv.DictReader(file))
    with open(out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "class", "given", "corrected"])
        for row in rows:
            corrected = "absent" if row["given"] == "present" else "present"
            table.writerow([row["image"], row["class"], row["given"], corrected])
    return len(rows)


def main(labels: Path, pictures: Path) -> None:
    """Train, audit, correct, train again, and tag three pictures."""
    # network and features are kept, so that the second training takes a second
    settings = ("--config", "frozen", "--data.root", str(pictures))
    command("train", *settings, "--data.csv", str(labels), "--out", "runs/before")
    command("audit", "runs/before", "--out", "audit")
    print(f"{decide(Path('audit/suspects.csv'), Path('corrections.csv'))} decisions")
    command("correct", str(labels), "corrections.csv", "--out", "corrected.csv")
    command("train", *settings, "--data.csv", "corrected.csv", "--out", "runs/after")
    command("report", "runs/before", "runs/after", "audit", "--out", "report.html")

    predictor = pumlc.load("runs/after")
    for prediction in predictor.predict(sorted(pictures.rglob("*.jpg"))[-3:]):
        print(prediction)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
    else:
        command("demo", "--data", "photos")
        main(Path("photos/tags.csv"), Path("photos"))
