"""The demo on texts: which functions of numpy, scipy and scikit-learn belong together?

A document is the documentation of a public function or class without its See Also section. A label
is the name and first line of a function. The labels of a document are the functions that its See
Also section lists. The demo reads the source code of the installed libraries; it imports and
downloads nothing. It trains a dual encoder of two layers from scratch, with its own vocabulary.
"""

import ast
import json
import re
import sysconfig
import time
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from pumlc.cli.demo import command_output
from pumlc.tables import table
from pumlc.text.data.readers import read_corpus
from pumlc.text.retrieval.ranking import DEPTH, retrieval_metrics

LIBRARIES = ("numpy", "scipy", "sklearn")
SEE_ALSO = re.compile(r"See Also\n-+\n(.*?)(?=\n[A-Z][A-Za-z ]+\n-{3,}|\Z)", re.DOTALL)
VOCABULARY, LENGTH = 4000, 64


def docstrings() -> dict[str, str]:
    """Name -> docstring of the public functions and classes of the installed libraries."""
    found: dict[str, str] = {}
    for library in LIBRARIES:
        folder = Path(sysconfig.get_path("purelib")) / library
        for path in sorted(folder.rglob("*.py")):
            if "tests" in path.parts:
                continue
            for node in ast.parse(path.read_text("utf-8")).body:
                if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != "_":
                    found.setdefault(node.name, ast.get_docstring(node) or "")
    return found


def see_also(docstring: str) -> list[str]:
    """The last part of each name in the See Also section, without repetitions."""
    section = SEE_ALSO.search(docstring)
    lines = section[1].split("\n") if section else []
    listed = ",".join(line.split(" : ")[0] for line in lines if line[:1].strip())
    names = (name.strip("` :").rsplit(".", 1)[-1] for name in re.split(r"[,\s]+", listed))
    return list(dict.fromkeys(name for name in names if name))


def words(name: str) -> str:
    """The words of a name: ``Linear Regression`` for ``LinearRegression``, also with ``_``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_+", " ", name).strip()


def docstring_records() -> list[tuple[str, str, list[str]]]:
    """Name, text and labels of each document, sorted by name."""
    found = docstrings()
    summary = {
        name: f"{words(name)}: {text.strip().splitlines()[0]}" if text.strip() else words(name)
        for name, text in found.items()
    }
    records = []
    for name in sorted(found):
        labels = [other for other in see_also(found[name]) if other in found and other != name]
        if labels:
            text = " ".join(SEE_ALSO.sub("", found[name]).split("Examples\n---")[0].split())
            records.append((name, f"{words(name)}: {text}", [summary[other] for other in labels]))
    return records


def write_corpus(folder: Path) -> list[str]:
    """Write train.jsonl and test.jsonl, one document in five.

    Returns:
        The texts of the training documents.
    """
    records = docstring_records()
    order = np.random.RandomState(0).permutation(len(records))
    parts = {"test": order[: len(order) // 5], "train": order[len(order) // 5 :]}
    for split, rows in parts.items():
        lines = [json.dumps({"text": records[i][1], "labels": records[i][2]}) for i in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return [records[i][1] for i in parts["train"]]


def write_encoder(folder: Path, texts: list[str]) -> None:
    """Write the configuration of a small BERT, and a WordPiece vocabulary made from ``texts``."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import AutoTokenizer, BertConfig

    folder.mkdir()
    vocabulary = BertWordPieceTokenizer()
    words = (
        word
        for text in texts
        for word, _ in vocabulary.pre_tokenizer.pre_tokenize_str(
            vocabulary.normalizer.normalize_str(text)
        )
    )
    # Named here, they have numbers that do not differ from run to run, and so have the tokens that
    # are made from them: of two pairs that are as frequent, the one with lower numbers comes first.
    inner = sorted({f"##{char}" for word in words for char in word[1:]})
    vocabulary.train_from_iterator(
        texts,
        vocab_size=VOCABULARY,
        show_progress=False,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *inner],
    )
    vocabulary.save_model(str(folder))
    BertConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=LENGTH,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder, model_max_length=LENGTH).save_pretrained(folder)


def tfidf_baseline(folder: Path) -> dict[str, float]:
    """Metrics of the TF-IDF cosine between document and label text, which learns nothing."""
    _, test = read_corpus(folder, "jsonl")
    vectorizer = TfidfVectorizer(sublinear_tf=True).fit(test.texts)
    similarity = vectorizer.transform(test.texts) @ vectorizer.transform(test.label_texts).T
    ids = np.argsort(-similarity.toarray(), axis=1, kind="stable")[:, :DEPTH]
    return retrieval_metrics(ids, test.truth)


def is_demo_folder(folder: Path) -> bool:
    """Whether a folder was written by this demo and may be replaced."""
    return (folder / "train.jsonl").is_file()


def run(out: Path) -> None:
    """Write corpus and encoder, train, evaluate, and print a table of the metrics."""
    out.mkdir(parents=True)
    write_encoder(out / "encoder", write_corpus(out))
    start = time.perf_counter()
    command_output(
        *("train", "--config", "demo_text"),
        *("--data.root", str(out), "--data.token_cache", str(out / "tokens")),
        *("--encoder.model", str(out / "encoder"), "--out", str(out / "run")),
    )
    seconds = time.perf_counter() - start
    printed = command_output("evaluate", str(out / "run"), "--weights", "last")
    result = json.loads(printed.splitlines()[-1])
    entry = result["weights"]["last"]
    shown = ("P@1", "P@3", "P@5", "R@10")
    rows = [
        ["TF-IDF cosine", "all", *(tfidf_baseline(out)[name] for name in shown), None],
        ["dual encoder", "all", *(entry["all"][name] for name in shown), f"{seconds:.0f}"],
    ]
    if entry["zero_shot"] is not None:
        rows.append(["dual encoder", "unseen", *(entry["zero_shot"][name] for name in shown), None])
    print(f"\n{result['N']} documents, {result['labels']} labels")
    print(table(["method", "true labels", *shown, "seconds"], rows))
