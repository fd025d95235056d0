from .data.decode import load_image as load_image
from .data.label_file import read_labels as read_labels
from .data.transforms import (
    evaluation_transform as evaluation_transform,
    training_transform as training_transform,
)
from .models.class_vectors import (
    encode_class_names as encode_class_names,
    label_graph as label_graph,
    read_word_vectors as read_word_vectors,
)
from .models.classifier import Classifier as Classifier, create_classifier as create_classifier
from .models.conversion import (
    add_local_global as add_local_global,
    fold_local_global as fold_local_global,
)
from .models.lgconv import LocalGlobalConv as LocalGlobalConv
from .models.ml_decoder import MLDecoder as MLDecoder
from .models.ssgrl import SSGRL as SSGRL
from .models.trained_part import freeze as freeze
