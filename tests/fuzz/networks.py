"""The programs that run a network, and all that they import: six seconds, for which the others need not wait."""

from collections.abc import Callable
from dataclasses import replace

import keras
import small
from keras import layers

import common.cli.predict  # noqa: F401
import common.encoding.job  # noqa: F401
import common.prediction.testing  # noqa: F401
import common.training.train  # noqa: F401
from common.cli.script import run_script
from common.models.registry import Output
from common.models.weight_files import save


def build_with_map(shape: tuple[int, int, int]) -> keras.Model:
    """The network of small.py with an attention map besides."""
    model = small.build(shape)
    flat = layers.Flatten()(layers.Conv2D(1, 3, strides=8, padding="same")(model.input))
    return keras.Model(model.input, [model.output, layers.Reshape((2, 2, 1), name="VA_output")(layers.Softmax()(flat))])


WITH_MAP = replace(
    small.SMALL, build=build_with_map, outputs=(*small.SMALL.outputs, Output("VA_output", "attention map", loss="KLD"))
)
PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "small": lambda words: run_script("", small.SMALL, arguments=words),
    "mapped": lambda words: run_script("", WITH_MAP, arguments=words),
    "save": lambda words: save(small.build(), words[0]) or 0,
}
