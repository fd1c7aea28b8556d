"""A network that trains in a second, on the rootdir of conftest.py, for what concerns the loop and not the models."""

import argparse

import keras
import numpy as np
import pandas as pd
from keras import layers

from common.cli.flags import training_flags
from common.data import dataset
from common.media.images import InputFormat
from common.models import weight_files
from common.training.loop import Training, fit

INPUT = InputFormat(width=16, height=16, scale=1 / 255)


def build(bias=20.0, activation="relu"):
    """A frozen convolution, always the same, and a part that learns, with random numbers of its own."""
    picture = keras.Input(INPUT.shape, name="picture")
    kernel = keras.initializers.GlorotUniform(seed=1)
    x = layers.Conv2D(4, 3, strides=2, trainable=False, kernel_initializer=kernel, name="frozen")(picture)
    x = layers.Dense(8, "tanh")(layers.Flatten()(x))
    x = layers.Dropout(0.2)(x)
    bias = keras.initializers.Constant(bias)
    level = layers.Dense(1, activation, bias_initializer=bias, dtype="float32", name="JND_output")(x)
    model = keras.Model(picture, level, name="small")
    return model, model


def build_on_others():
    """The same with other frozen weights."""
    model, kept = build()
    frozen = model.get_layer("frozen")
    frozen.set_weights([2 * array for array in frozen.get_weights()])
    return model, kept


def options(*flags):
    """What a command line with these flags and small defaults gives."""
    parser = argparse.ArgumentParser()
    training_flags(parser, epochs=8, batch_size=2, learning_rate=1e-2)
    return parser.parse_args([str(flag) for flag in flags])


def train(root, folder, *flags, build=build, compile=lambda: {"loss": "mae"}):
    """Train it in `folder` and return the Best."""
    splits, _ = dataset.read_splits(root, ("train", "valid"))
    labels = {name: split.labels[:, :1] for name, split in splits.items()}
    return fit(
        Training(
            "small",
            build,
            compile,
            {name: split.images for name, split in splits.items()},
            {name: [column] for name, column in labels.items()},
            INPUT,
            folder / "Best.h5",
            folder / "logs.csv",
            "",
            {"JND1": ("loss", "val_loss", 1.5)},
            "QP",
            {"JND_output": labels["valid"]},
        ),
        options(*flags),
    )


def log_of(folder):
    return pd.read_csv(folder / "logs.csv", sep=";")


def weights_of(folder):
    model, _ = build()
    weight_files.load(model, folder / "Best.h5")
    return model.get_weights()


def assert_same(folder, other):
    pd.testing.assert_frame_equal(log_of(folder), log_of(other), rtol=1e-5)
    for arrays in zip(weights_of(folder), weights_of(other), strict=True):
        np.testing.assert_allclose(*arrays, rtol=1e-5)
