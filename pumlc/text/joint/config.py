"""Settings of a joint run: how labels are scored by their text."""

from dataclasses import dataclass

from pumlc.engine.config import require

JOINT = "joint"
"""The value of ``heads`` of such a run."""


@dataclass(kw_only=True)
class JointConfig:
    """Labels scored by their text beside least squares."""

    cost: float = 1.0
    """points of leave-one-out P@1 that labels without a document may cost: the larger, the higher
    they rank"""
    letters: int = 4
    """length of the pieces of words that documents and label texts are compared by"""
    map_penalty: float = 10.0
    """ridge penalty of the linear map from documents to the embeddings of label texts"""
    shortlist: int = 30
    """labels that each comparison of a document with label texts proposes"""

    def __post_init__(self) -> None:
        require(self.cost >= 0, "joint.cost", self.cost, "at least 0")
        require(self.letters >= 1, "joint.letters", self.letters, "at least 1")
        require(self.map_penalty > 0, "joint.map_penalty", self.map_penalty, "above 0")
        require(self.shortlist >= 1, "joint.shortlist", self.shortlist, "at least 1")
