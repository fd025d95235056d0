"""How a run of each kind is trained in seconds."""

from importlib import import_module
from pathlib import Path

from accelerate.state import AcceleratorState

KINDS = ("pictures", "heads of pictures", "texts", "heads of texts")
PICTURES = (
    *("--data.name", "csv", "--data.validation", "0.25", "--data.image_size", "32"),
    *("--data.unlisted", "negative", "--model.backbone", "test_resnet", "--model.weights", "none"),
)
NETWORK = (
    *("--loss.name", "bce", "--loss.parameters", '{"unknown": "ignore"}'),
    *("--train.epochs", "1", "--train.batch_size", "16", "--train.learning_rate", "1e-3"),
)
TEXTS = """
task: text
data: {{root: {root}, document_length: 16, label_length: 8, token_cache: {cache},
       validation: 0.2}}
encoder: {{model: {model}, document_chunk: 24, label_chunk: 32}}
"""
ENCODER = """
loss: {name: softmax, temperature: 0.05}
train: {epochs: 1, batch_size: 24, learning_rate: 1e-3}
"""
LEAST_SQUARES = """
heads: least_squares
loss: {name: least_squares, temperature: 1.0}
train: {epochs: 1, batch_size: 24, learning_rate: 1.0}
"""


def pictures_of(kind: str, csv: Path, cache: Path) -> list[str]:
    """The command line of a run on pictures."""
    heads = ("--config", "frozen", "--features.cache", str(cache))
    own = NETWORK if kind == "pictures" else heads
    return [*own, *PICTURES, "--data.csv", str(csv), "--data.root", str(csv.parent)]


def texts_of(kind: str, corpus: Path, model: Path, cache: Path) -> str:
    """The settings of a run on texts, as YAML."""
    own = ENCODER if kind == "texts" else LEAST_SQUARES
    return TEXTS.format(root=corpus, model=model, cache=cache) + own


def call(command: str, *arguments: object) -> None:
    """A command of ``pumlc``, as from a fresh process; its errors are raised."""
    AcceleratorState._reset_state(reset_partial_state=True)
    import_module(f"pumlc.cli.{command}").main([str(argument) for argument in arguments])
