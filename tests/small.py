"""A model that trains in a second, on the rootdir of conftest.py, for what concerns the loop and not the networks."""

from dataclasses import dataclass, replace

import keras
import numpy as np
import pandas as pd
from keras import layers

from common.cli.script import run_script
from common.media.formats import InputFormat
from common.models.registry import ModelSpec, Output
from common.models.weight_files import load
from common.training.train import train as train_model

TWENTY = keras.initializers.Constant(20.0)  # QP, not far from the labels
INPUT = InputFormat(width=16, height=16, scale=1 / 255)


@dataclass(frozen=True)
class Defaults:
    epochs: int = 8
    batch_size: int = 2
    learning_rate: float = 1e-2


def build(shape=INPUT.shape, activation="relu", frozen_seed=1):
    """A frozen convolution, always the same, and a part that learns, with random numbers of its own."""
    image = keras.Input(shape, name="picture")
    kernel = keras.initializers.GlorotUniform(seed=frozen_seed)
    x = layers.Conv2D(4, 3, strides=2, trainable=False, kernel_initializer=kernel, name="frozen")(image)
    x = layers.Dense(8, "tanh")(layers.Flatten()(x))
    x = layers.Dropout(0.2)(x)
    qp = layers.Dense(1, activation, bias_initializer=TWENTY, dtype="float32", name="JND_output")(x)
    return keras.Model(image, qp, name="small")


def build_on_others(shape):
    """The same with other frozen weights."""
    return build(shape, frozen_seed=2)


def build_on_both(shape, others=build_on_others):
    """A part that learns on both."""
    image = keras.Input(shape, name="picture")
    one, other = (f(shape).get_layer("frozen") for f in (build, others))
    other = layers.Conv2D.from_config(other.get_config() | {"name": "other"})
    x = layers.Flatten()(layers.Concatenate()([layers.Conv2D.from_config(one.get_config())(image), other(image)]))
    qp = layers.Dense(1, bias_initializer=TWENTY, name="JND_output")(x)
    return keras.Model(image, qp, name="small")


def build_on_twice_the_same(shape):
    """A part that learns on two frozen layers with the same weights."""
    return build_on_both(shape, build)


def build_normalized(shape):
    """What learns depends on the whole batch, and on no random numbers but those of its start."""
    image = keras.Input(shape, name="picture")
    kernel = keras.initializers.GlorotUniform(seed=1)
    x = layers.Conv2D(4, 3, strides=2, trainable=False, kernel_initializer=kernel, name="frozen")(image)
    x = layers.Dense(8, "tanh")(layers.Flatten()(layers.BatchNormalization()(x)))
    qp = layers.Dense(1, "relu", bias_initializer=TWENTY, name="JND_output")(x)
    return keras.Model(image, qp, name="small")


def build_alike(shape):
    """The one before with the same frozen weights on every backend; what a seed gives is another on each."""
    model, random = build_normalized(shape), np.random.default_rng(1)
    frozen = model.get_layer("frozen")
    frozen.set_weights([random.normal(0, 0.2, array.shape) for array in frozen.get_weights()])
    return model


SMALL = ModelSpec(
    name="small",
    script=__file__,
    build=build,
    outputs=(Output("JND_output", level="JND1"),),
    defaults=Defaults(),
    weights="Best.h5",
    input=INPUT,
    checkpoint="Best.h5",
    log="logs.csv",
)


def train(root, folder, *, build=build, loss="mae", output_bias="zero", **settings):
    """Train it in `folder` and return the Best; `settings` are fields of TrainingConfig."""
    spec = replace(SMALL, build=build, outputs=(replace(SMALL.outputs[0], loss=loss),))
    return train_model(spec, data_dir=root, checkpoint_path=folder, output_bias=output_bias, **settings)


def call(command, *arguments, build=build):
    """Its command line, inside this process: the exit code."""
    return run_script("", replace(SMALL, build=build), arguments=[command, *map(str, arguments)])


def log_of(folder):
    return pd.read_csv(folder / "logs.csv", sep=";")


def weights_of(folder):
    model = build()
    load(model, folder / "Best.h5")
    return model.get_weights()


def assert_same(folder, other):
    pd.testing.assert_frame_equal(log_of(folder), log_of(other), rtol=1e-5)
    for arrays in zip(weights_of(folder), weights_of(other), strict=True):
        np.testing.assert_allclose(*arrays, rtol=1e-5)
