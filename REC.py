# PYTHON_ARGCOMPLETE_OK
"""REC: one JND level from the frame that the JND autoencoder reconstructs (Nami et al., IEEE TCSVT 2024).

    image (B, 352, 640, 3), B, G, R, 0..255
      | the frozen JND autoencoder of the level, common/models/autoencoder.py
    reconstruction (B, 352, 640, 3)
      | BatchNormalization, REC(512)              -> (B, 176, 320, 512)
      | REC(256), REC(128), REC(64), REC(32)      -> (B, 11, 20, 32)
      | Flatten                                   -> (B, 7040)
      | Dense 512, Dense 1, both ReLU
    JND_output (B, 1), QP

REC(f) is Conv 3x3, BatchNormalization, ReLU and the maximum of 2x2, common/models/blocks.py.

Deviation: where the output's bias starts, as in LAT.py.
"""

import sys
from os.path import dirname
from typing import Any

sys.path.insert(0, dirname(__file__))  # which PYTHONSAFEPATH=1 leaves out

from common.core import keras
from common.media.formats import TCSVT
from common.models.backbones import Autoencoders
from common.models.blocks import rec_block, regression_head
from common.models.registry import ModelSpec, Output, register


class Paper:
    """The numbers of the paper and of the released program."""

    stem_filters = 512
    trunk_filters = (256, 128, 64, 32)
    hidden = (512,)
    epochs = 300
    batch_size = 8
    learning_rate = 1e-5


PAPER = Paper()


def build_model(autoencoder: Any) -> Any:
    """REC on a JND autoencoder, which it freezes: a Keras model, image (B, 352, 640, 3) -> QP (B, 1).

    8,078,384 parameters with the autoencoder's.
    """
    autoencoder.trainable = False
    features = trunk(stem(autoencoder.output))
    return keras.Model(autoencoder.input, regression_head(features, PAPER.hidden, "JND_output"), name="REC")


def stem(reconstruction: Any, prefix: str = "") -> Any:
    """The part that MJ-REC has once a level: reconstruction (B, 352, 640, 3) -> (B, 176, 320, 512)."""
    x = keras.layers.BatchNormalization(name=f"{prefix}reconstruction_norm")(reconstruction)
    return rec_block(x, PAPER.stem_filters, f"{prefix}rec_{PAPER.stem_filters}")


def trunk(x: Any) -> Any:
    """The other REC blocks: (B, 176, 320, 512) -> features (B, 7040)."""
    for filters in PAPER.trunk_filters:
        x = rec_block(x, filters, f"rec_{filters}")
    return keras.layers.Flatten(name="flatten")(x)  # (B, 11, 20, 32) -> (B, 7040)


REC = register(
    ModelSpec(
        name="REC",
        script=__file__,
        build=build_model,
        outputs=(Output("JND_output"),),
        defaults=PAPER,
        weights="RECJND{jnd}.h5",
        input=TCSVT,
        backbone=Autoencoders(("JND{jnd}Reconstruction.h5",)),
        test_batch_size=1,
    )
)

if __name__ == "__main__":
    from common.cli.script import main

    main(__doc__, REC)
