"""Encoders of a run for other programs: sentence-transformers, and ONNX with the tokenizer."""

import copy
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from pumlc.engine.extras import import_extra
from pumlc.errors import UserError
from pumlc.files import complete_file, complete_folder, write_json, write_text
from pumlc.text.data.tokens import tokenize
from pumlc.text.frozen.held_out import drawn_documents
from pumlc.text.models.encoder import TextEncoder
from pumlc.text.models.model_folder import TRAINING_DATA
from pumlc.text.predictor import TextPredictor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MODULES = "sentence_transformers.models."
_LARGEST = 2**28  # numbers of label embeddings in an ONNX file, which holds 2 GiB


def export_sentence_transformers(
    predictor: TextPredictor, folder: Path, *, side: str, card: str | None = None
) -> None:
    """Write an encoder as a folder that sentence-transformers, and ``encoder.model``, take.

    With it come ``labels.json`` and ``label_embeddings.npy``, float32 [L, D], learned vectors among
    them: the inner products with the embedding of a document are the scores of the run. The
    fingerprints of the data that the encoder was trained on, and what decides which part, are in
    ``training_data.json``.

    Args:
        predictor: of a run.
        folder: a new one; it appears when it is complete.
        side: "documents" or "labels", which are the same where the encoder is shared.
        card: the text of its README.md; None: it has none.

    Raises:
        UserError: the folder is there already.
    """
    encoder = predictor.model.documents if side == "documents" else predictor.model.labels
    data = predictor.config.data
    length = data.document_length if side == "documents" else data.label_length
    with complete_folder(folder) as building:
        encoder.backbone.save_pretrained(building)
        predictor.tokenizer.save_pretrained(building)
        settings = {"max_seq_length": length, "do_lower_case": False}
        write_json(building / "sentence_bert_config.json", settings)
        _write_modules(building, encoder)
        trained_on = predictor.run.read().get("data") or {}
        drawn = drawn_documents(predictor.config)
        write_json(building / TRAINING_DATA, {**trained_on, "drawn": drawn})
        write_json(building / "labels.json", list(predictor.labels))
        with complete_file(building / "label_embeddings.npy", binary=True) as stream:
            np.save(stream, predictor.label_embeddings())
        if card is not None:
            write_text(building / "README.md", card)


def _write_modules(folder: Path, encoder: TextEncoder) -> None:
    """modules.json and the settings of pooling, projection and length."""
    head, width = encoder.head, int(encoder.backbone.config.hidden_size)
    kinds = ["Transformer", "Pooling"]
    pooling = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": head.pooling == "cls",
        "pooling_mode_mean_tokens": head.pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    configs: dict[str, dict[str, Any]] = {"Pooling": pooling}
    if encoder.projection is not None:
        activation = {"tanh": "activation.Tanh", "identity": "linear.Identity"}[head.activation]
        configs["Dense"] = {
            "in_features": width,
            "out_features": encoder.dimension,
            "bias": True,
            "activation_function": f"torch.nn.modules.{activation}",
        }
        kinds.append("Dense")
    if head.normalize:
        kinds.append("Normalize")
        configs["Normalize"] = {}
    listed = []
    for place, kind in enumerate(kinds):
        path = f"{place}_{kind}" if place else ""
        listed.append({"idx": place, "name": str(place), "path": path, "type": _MODULES + kind})
        if place:
            (folder / path).mkdir()
            write_json(folder / path / "config.json", configs[kind])
        if kind == "Dense":
            assert encoder.projection is not None
            state = {f"linear.{n}": v.cpu() for n, v in encoder.projection.state_dict().items()}
            with complete_file(folder / path / "model.safetensors", binary=True) as stream:
                stream.write(safetensors.torch.save(state))
    write_json(folder / "modules.json", listed)


class _Scorer(nn.Module):
    """Token ids to the embedding of a document and its scores for all labels."""

    def __init__(self, encoder: TextEncoder, labels: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("labels", labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.encoder(input_ids, attention_mask)
        return embedding, embedding @ self.get_buffer("labels").T


def export_text_onnx(predictor: TextPredictor, path: Path) -> None:
    """Write the encoder of documents and the labels as one ONNX file, for any batch and length.

    The graph takes ``input_ids`` and ``attention_mask``, int64 [B, T], and gives
    ``document_embedding`` [B, D] and ``scores`` [B, L]. Its metadata are JSON texts: ``labels``,
    the L names; ``tokenizer``, the file that the library tokenizers reads, with the length at which
    documents are cut; and ``decisions``, slope and bias of the probability, and the threshold, if
    the run has fitted them.

    Args:
        predictor: of a run; it stays as it is.
        path: the file to write.

    Raises:
        UserError: the extra [export] is not installed, the tokenizer has no such file, or the
            labels are too many for one file.
    """
    onnx = import_extra("onnx", "export", what="exporting")
    import_extra("onnxscript", "export", what="exporting")
    labels = predictor.label_embeddings()
    if labels.size > _LARGEST:
        raise UserError(
            f"{len(labels)} labels of {labels.shape[1]} numbers do not fit in one ONNX file; "
            "export to a folder, which has them as an array"
        )
    metadata = {
        "labels": list(predictor.labels),
        "tokenizer": _tokenizer_json(predictor.tokenizer, predictor.config.data.document_length),
    }
    if predictor.decisions is not None:
        metadata["decisions"] = predictor.decisions.to_json()
    encoder = copy.deepcopy(predictor.model.documents).cpu().float().eval()
    encoder.backbone.set_attn_implementation("eager")
    scorer = _Scorer(encoder, torch.from_numpy(labels)).eval()
    # two tensors: one that is passed twice is one input to the exporter
    ids, mask = torch.ones(2, 5, dtype=torch.int64), torch.ones(2, 5, dtype=torch.int64)
    longest = int(getattr(encoder.backbone.config, "max_position_embeddings", None) or 512)
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", min=2, max=longest)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns about its own code
        program = torch.onnx.export(
            scorer,
            (ids, mask),
            dynamo=True,
            input_names=["input_ids", "attention_mask"],
            output_names=["document_embedding", "scores"],
            dynamic_shapes=(sizes, sizes),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in metadata.items()})
    with complete_file(path, binary=True) as file:
        file.write(proto.SerializeToString())


def largest_text_difference(path: Path, predictor: TextPredictor, texts: Sequence[str]) -> float:
    """Largest absolute difference between scores by onnxruntime and those of the run.

    The texts are tokenized by what is in the file.

    Raises:
        UserError: the extra [export] is not installed.
    """
    session = import_extra("onnxruntime", "export", what="exporting").InferenceSession(str(path))
    stored = session.get_modelmeta().custom_metadata_map["tokenizer"]
    tokenizer = import_extra("tokenizers", "export", what="exporting").Tokenizer.from_str(
        json.loads(stored)
    )
    encoded = tokenizer.encode_batch(list(texts))
    tokens = {
        "input_ids": np.array([row.ids for row in encoded], np.int64),
        "attention_mask": np.array([row.attention_mask for row in encoded], np.int64),
    }
    (scores,) = session.run(["scores"], tokens)
    length = predictor.config.data.document_length
    own = tokenize(texts, predictor.tokenizer, max_length=length).batch(np.arange(len(texts)))
    encoder = copy.deepcopy(predictor.model.documents).cpu().float().eval()
    with torch.inference_mode():
        expected = encoder(**own).numpy() @ predictor.label_embeddings().T
    return float(np.abs(scores - expected).max())


def _tokenizer_json(tokenizer: "PreTrainedTokenizerBase", length: int) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UserError("this tokenizer has no form for the library tokenizers, which ONNX needs")
    content = import_extra("tokenizers", "export", what="exporting").Tokenizer.from_str(
        backend.to_str()
    )
    content.enable_truncation(length)
    pad = tokenizer.pad_token_id
    content.enable_padding(pad_id=0 if pad is None else pad, pad_token=tokenizer.pad_token or "")
    return content.to_str()
