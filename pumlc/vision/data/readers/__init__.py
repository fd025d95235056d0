"""The data sets that a run can name, one file per format.

A new format is one file here, with a `Reader` and a dictionary ``DATA_SETS``, and one line below.
"""

from pumlc.errors import UserError, closest
from pumlc.vision.data.readers import (
    coco,
    csv_file,
    label_file,
    nuswide,
    openimages,
    visual_genome,
    voc,
)
from pumlc.vision.data.readers.data_set import DataSet

DATA_SETS: dict[str, DataSet] = {
    **coco.DATA_SETS,
    **voc.DATA_SETS,
    **csv_file.DATA_SETS,
    **label_file.DATA_SETS,
    **visual_genome.DATA_SETS,
    **nuswide.DATA_SETS,
    **openimages.DATA_SETS,
}


def find_data_set(name: str) -> DataSet:
    """The data set of a name.

    Raises:
        UserError: there is none; the message has the nearest valid name.
    """
    if name not in DATA_SETS:
        raise UserError(f"unknown data set {name!r}; {closest(name, list(DATA_SETS))}")
    return DATA_SETS[name]
