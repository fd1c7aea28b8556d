"""What a script says of its model, so that the command line, training and testing need not know which one it is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.images import TCSVT, InputFormat


@dataclass(frozen=True)
class Variant:
    """One of the papers' models.

    name: as the papers write it.
    build: makes the Keras model from the networks of `backbones`.
    backbones: file names of the autoencoders it stands on, `{level}` for the number of the JND level.
    weights: the released weight file's name, `{level}` likewise.
    paper: with the paper's `epochs`, `batch_size` and `learning_rate`.
    input: size and scale of the pictures that it sees.
    """

    name: str
    build: Callable
    backbones: tuple
    weights: str
    paper: Any
    input: InputFormat = TCSVT

    def weight_names(self, level):
        """What the file of a level (1 to 3) may be called: as released, or as `train` writes it."""
        return (self.weights.format(level=level), self.checkpoint_name(level))

    def checkpoint_name(self, level):
        return f"BestModelJND{level}.h5"

    def log_name(self, level):
        return f"logsJND{level}.csv"

    def result_name(self, level):
        return f"JND{level}test_results.csv"
