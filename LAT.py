# PYTHON_ARGCOMPLETE_OK
"""LAT: one JND level from the latent of the JND autoencoder (Nami et al., IEEE TCSVT 2024, the latent-based method).

    image (B, 352, 640, 3), B, G, R, 0..255
      | encoder of the frozen JND autoencoder of the level, common/models/autoencoder.py
    latent (B, 22, 40, 192)
      | BatchNormalization, LAT(64), LAT(128)
      | MaxPool 2                                 -> (B, 11, 20, 128)
      | LAT(256), LAT(512)
      | MaxPool 2, Flatten                        -> (B, 25600)
      | Dense 256, Dense 128, Dense 1, all ReLU
    JND_output (B, 1), QP

LAT(f) is Conv 3x3, BatchNormalization, ReLU and channel attention, common/models/blocks.py.

Deviation: in training the output's bias starts at the mean training label, because a ReLU that starts at zero is often
dead for good; `--output_bias zero` starts as the released program does.
"""

import sys
from os.path import dirname
from typing import Any

sys.path.insert(0, dirname(__file__))  # which PYTHONSAFEPATH=1 leaves out

from common.core import keras
from common.media.formats import TCSVT
from common.models.autoencoder import latent
from common.models.backbones import Autoencoders
from common.models.blocks import lat_block, regression_head
from common.models.registry import ModelSpec, Output, register


class Paper:
    """The numbers of the paper and of the released program."""

    stem_filters = 64
    trunk_filters = (128, 256, 512)
    hidden = (256, 128)
    epochs = 300
    batch_size = 8
    learning_rate = 1e-5


PAPER = Paper()


def build_model(autoencoder: Any) -> Any:
    """LAT on a JND autoencoder, which it freezes: a Keras model, image (B, 352, 640, 3) -> QP (B, 1).

    9,783,225 parameters with the encoder's; the decoder is not part of it.

        >>> from common.models.autoencoder import build_autoencoder
        >>> build_model(build_autoencoder()).count_params()
        9783225
    """
    autoencoder.trainable = False
    features = trunk(stem(latent(autoencoder)))
    return keras.Model(autoencoder.input, regression_head(features, PAPER.hidden, "JND_output"), name="LAT")


def stem(latent: Any, prefix: str = "") -> Any:
    """The part that MJ-LAT has once a level: latent (B, 22, 40, 192) -> (B, 22, 40, 64)."""
    x = keras.layers.BatchNormalization(name=f"{prefix}latent_norm")(latent)
    return lat_block(x, PAPER.stem_filters, f"{prefix}lat_{PAPER.stem_filters}")


def trunk(x: Any) -> Any:
    """The other LAT blocks: (B, 22, 40, 64) -> features (B, 25600)."""
    first, *others = PAPER.trunk_filters
    x = lat_block(x, first, f"lat_{first}")
    x = keras.layers.MaxPooling2D(name="pool_1")(x)  # (B, 22, 40, 128) -> (B, 11, 20, 128)
    for filters in others:
        x = lat_block(x, filters, f"lat_{filters}")
    x = keras.layers.MaxPooling2D(name="pool_2")(x)  # (B, 11, 20, 512) -> (B, 5, 10, 512)
    return keras.layers.Flatten(name="flatten")(x)


LAT = register(
    ModelSpec(
        name="LAT",
        script=__file__,
        build=build_model,
        outputs=(Output("JND_output"),),
        defaults=PAPER,
        weights="LATJND{jnd}.h5",
        input=TCSVT,
        backbone=Autoencoders(("JND{jnd}Reconstruction.h5",)),
    )
)

if __name__ == "__main__":
    from common.cli.script import main

    main(__doc__, LAT)
