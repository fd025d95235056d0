"""What a dual encoder must beat, on the documents, labels and metrics of a text run.

    python experiments/text_baselines.py METHOD --config RECIPE [settings as for pumlc train]

``cosine``: compares the TF-IDF of a document with the TF-IDF of each label text.
``untrained``: the encoder of the config before training.
``parabel``: omikuji's Parabel with 3 trees on TF-IDF features (extra ``[baselines]``), trained on
the same training documents as the run with these settings.

The words are those of a document's first ``data.document_length`` tokens, as the encoder sees
them; with ``--whole-texts`` all words count. It prints the tables of ``pumlc evaluate``, the
minutes (processor time and wall time) and the peak memory of the process.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.feature_extraction.text import TfidfVectorizer

from pumlc.cli import console
from pumlc.engine.command_line import parse
from pumlc.engine.processes import create_accelerator
from pumlc.text.config import TextConfig
from pumlc.text.data.corpus import Corpus, load_corpus
from pumlc.text.data.tokens import cached_tokens
from pumlc.text.evaluation import report
from pumlc.text.measures import measure_ranked, measure_ranking, rank_embeddings, set_facts
from pumlc.text.models.build import model_source
from pumlc.text.models.embedding import Embedder
from pumlc.text.models.pretrained import load_tokenizer
from pumlc.text.retrieval.ranking import DEPTH
from pumlc.text.task import TextTask

ROWS_AT_A_TIME = 256


def first_tokens(texts: Sequence[str], config: TextConfig) -> list[str]:
    """Each text up to the end of its last token that the encoder sees."""
    tokenizer = load_tokenizer(model_source(config.encoder.model))
    ends = tokenizer(
        list(texts),
        truncation=True,
        max_length=config.data.document_length,
        return_offsets_mapping=True,
        verbose=False,
    )["offset_mapping"]
    return [
        text[: max((end for _, end in own), default=0)]
        for text, own in zip(texts, ends, strict=True)
    ]


def best_columns(scores: np.ndarray) -> np.ndarray:
    """Ids [N, DEPTH] of the largest positive scores, best first; -1 where there are fewer."""
    k = min(DEPTH, scores.shape[1])
    found = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(scores, found, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    ids = np.where(values > 0, found, -1)
    ids = np.take_along_axis(ids, order, axis=1)
    return np.pad(ids, ((0, 0), (0, DEPTH - k)), constant_values=-1)


def cosine(corpus: Corpus, train: Sequence[str], test: Sequence[str]) -> np.ndarray:
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    vectorizer.fit([*train, *corpus.test.label_texts])
    documents = vectorizer.transform(test)
    labels = sp.csc_array(vectorizer.transform(corpus.test.label_texts).T)
    return np.concatenate(
        [
            best_columns((documents[start : start + ROWS_AT_A_TIME] @ labels).toarray())
            for start in range(0, len(test), ROWS_AT_A_TIME)
        ]
    )


def parabel(corpus: Corpus, train: Sequence[str], test: Sequence[str]) -> np.ndarray:
    import omikuji  # type: ignore[reportMissingImports]

    vectorizer = TfidfVectorizer(sublinear_tf=True)
    features: Any = sp.csr_array(vectorizer.fit_transform(train))
    positives = corpus.source.positives[corpus.train]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.txt"
        with path.open("w") as file:
            print(*features.shape, positives.shape[1], file=file)
            for row in range(len(train)):
                labels = positives.indices[positives.indptr[row] : positives.indptr[row + 1]]
                print(",".join(map(str, labels)), *_pairs(features, row, "{}:{:.6g}"), file=file)
        model = omikuji.Model.train_on_data(
            str(path), omikuji.Model.default_hyper_param(), n_threads=1
        )
    model.init_prediction_thread_pool(1)
    queries: Any = sp.csr_array(vectorizer.transform(test))
    ids = np.full((len(test), DEPTH), -1, np.int64)
    for row in range(len(test)):
        part = slice(queries.indptr[row], queries.indptr[row + 1])
        pairs = list(zip(queries.indices[part].tolist(), queries.data[part].tolist(), strict=True))
        found = [label for label, _ in model.predict(pairs, top_k=DEPTH)]
        ids[row, : len(found)] = found
    return ids


def _pairs(matrix: Any, row: int, form: str) -> list[str]:
    part = slice(matrix.indptr[row], matrix.indptr[row + 1])
    entries = zip(matrix.indices[part], matrix.data[part], strict=True)
    return [form.format(column, value) for column, value in entries]


def untrained(config: TextConfig) -> tuple[Corpus, dict[str, Any]]:
    """Corpus and metrics of the encoder before its first step."""
    accelerator = create_accelerator(config.train.precision)
    task = TextTask(config)
    model = task.model.to(accelerator.device)
    documents = task.corpus.test
    tokens = cached_tokens(
        documents.texts,
        task.tokenizer,
        max_length=config.data.document_length,
        folder=Path(config.data.token_cache).expanduser(),
    )
    embedder = Embedder(
        model,
        document_chunk=config.encoder.document_chunk,
        label_chunk=config.encoder.label_chunk,
        accelerator=accelerator,
    )
    queries, labels = embedder.documents(tokens), embedder.label_texts(task.labels)
    ranked = rank_embeddings(queries, labels, documents, task.corpus, accelerator)
    return task.corpus, measure_ranked(ranked, documents, task.corpus, config.data.propensity)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("method", choices=["cosine", "untrained", "parabel"])
    parser.add_argument("--whole-texts", action="store_true")
    options, rest = parser.parse_known_args(arguments)
    config, _ = parse(TextConfig, rest, program="experiments/text_baselines.py")
    wall, processor = time.perf_counter(), time.process_time()
    if options.method == "untrained":
        corpus, entry = untrained(config)
    else:
        corpus = load_corpus(config.data, seed=config.train.seed)
        train = [corpus.source.texts[int(row)] for row in corpus.train]
        test: list[str] = list(corpus.test.texts)
        if not options.whole_texts:
            train, test = first_tokens(train, config), first_tokens(test, config)
        rank = {"cosine": cosine, "parabel": parabel}[options.method]
        ids = rank(corpus, train, test)
        entry = measure_ranking(ids, corpus.test, corpus, config.data.propensity)
    result = {
        "source": config.data.source,
        "split": "test",
        **set_facts(corpus.test, corpus),
        "weights": {
            options.method: {"epoch": 0, "zero_shot_among_unseen": None, "decisions": None, **entry}
        },
        "cpu_minutes": (time.process_time() - processor) / 60,
        "wall_minutes": (time.perf_counter() - wall) / 60,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(report(result))
    print(
        f"{result['cpu_minutes']:.1f} minutes of processor time, {result['wall_minutes']:.1f} of "
        f"wall time, peak {result['peak_mib']:.0f} MiB"
    )
    print(json.dumps(result))


if __name__ == "__main__":
    console.run(lambda: main(sys.argv[1:]))
