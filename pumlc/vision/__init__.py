"""Image classifiers: data, LG-conv, heads, model, task.

These names are imported when they are first used: ``import pumlc.vision`` does not load timm.
"""

_LAZY = {
    "load_image": "pumlc.vision.data.decode",
    "training_transform": "pumlc.vision.data.transforms",
    "evaluation_transform": "pumlc.vision.data.transforms",
    "LocalGlobalConv": "pumlc.vision.models.lgconv",
    "add_local_global": "pumlc.vision.models.conversion",
    "fold_local_global": "pumlc.vision.models.conversion",
    "Classifier": "pumlc.vision.models.classifier",
    "create_classifier": "pumlc.vision.models.classifier",
    "MLDecoder": "pumlc.vision.models.ml_decoder",
    "SSGRL": "pumlc.vision.models.ssgrl",
    "read_word_vectors": "pumlc.vision.models.class_vectors",
    "encode_class_names": "pumlc.vision.models.class_vectors",
    "label_graph": "pumlc.vision.models.class_vectors",
    "read_labels": "pumlc.vision.data.label_file",
    "freeze": "pumlc.vision.models.trained_part",
}

__all__ = [*_LAZY]  # pyright: ignore


def __getattr__(name: str):
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pumlc.vision' has no attribute {name!r}")
