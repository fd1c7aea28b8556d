# PYTHON_ARGCOMPLETE_OK
"""MTJND: JND levels from a VGG16 backbone (Nami et al., ICIP 2023): MT_3LJND, MT_1LJND_VA, MT_3LJND_VA.

    image (B, 270, 480, 3), B, G, R, 0..1, no mean subtracted
      | VGG16 without top, its first ten layers (through block3_conv3) frozen
    block5_pool (B, 8, 15, 512)
      | Flatten                                   -> (B, 61440)
      | a head a level: Dense 256, Dense 128, Dense 1, all ReLU
    MT_3LJND, MT_3LJND_VA: JND1_output, JND2_output, JND3_output (B, 1), QP
    MT_1LJND_VA:           JND_output (B, 1), QP; one weight file a level

VA is a visual-attention decoder that shares the backbone in training.  It is not part of the network that predicts, so
that the weights of MT_3LJND and MT_3LJND_VA fit the same one.  Its loss, weighted by --attention_weight, is added to
the levels' MAE; its targets are the maps of vatrain/ and vavalid/, named as the images.

Deviations: where the outputs' biases start, as in LAT.py.  The papers' decoder is not public: this one, its loss and
its weight are ours, common/models/attention_decoder.py.
"""

import sys
from collections.abc import Sequence
from functools import partial
from os.path import dirname
from typing import Any

sys.path.insert(0, dirname(__file__))  # which PYTHONSAFEPATH=1 leaves out

from common.core import keras
from common.media.formats import MTJND
from common.models.attention_decoder import build_attention_decoder
from common.models.backbones import VGG16
from common.models.blocks import regression_head
from common.models.registry import ModelSpec, Output, register


class Paper:
    """The numbers of the paper and of the released program."""

    hidden = (256, 128)
    epochs = 500
    batch_size = 8
    learning_rate = 1e-5


PAPER = Paper()
ONE_LEVEL = (Output("JND_output"),)
THREE_LEVELS = tuple(Output(f"{level}_output", level=level) for level in ("JND1", "JND2", "JND3"))
ATTENTION = Output("VA_output", target="attention map", loss="KLD", metrics=("CC", "KLD", "SIM"))


def build_model(vgg: Any, heads: Sequence[Output]) -> Any:
    """MTJND on VGG16: a Keras model, image (B, 270, 480, 3) -> a QP (B, 1) for each of `heads`, Outputs.

    62,000,451 parameters with three heads, 30,476,609 with one.
    """
    features = keras.layers.Flatten(name="flatten")(vgg.output)  # (B, 8, 15, 512) -> (B, 61440)
    qps = [regression_head(features, PAPER.hidden, head.name) for head in heads]
    return keras.Model(vgg.input, qps, name="MTJND")


def mtjnd(name: str, heads: tuple[Output, ...], weights: str, attention: bool) -> ModelSpec:
    """One of the three models; `attention`: whether it trains together with the decoder."""
    return register(
        ModelSpec(
            name=name,
            script=__file__,
            build=partial(build_model, heads=heads),
            outputs=(*heads, ATTENTION) if attention else heads,
            defaults=PAPER,
            weights=weights,
            input=MTJND,
            backbone=VGG16(),
            build_auxiliary=(lambda model: [build_attention_decoder(model)]) if attention else None,
            test_batch_size=2,
            level_by_column=True,
        )
    )


MT_3LJND = mtjnd("MT_3LJND", THREE_LEVELS, "MT_3LJND.h5", attention=False)
MT_1LJND_VA = mtjnd("MT_1LJND_VA", ONE_LEVEL, "MT_JND{jnd}_VA.h5", attention=True)
MT_3LJND_VA = mtjnd("MT_3LJND_VA", THREE_LEVELS, "MT_3LJND_VA.h5", attention=True)

if __name__ == "__main__":
    from common.cli.script import main

    main(__doc__, MT_3LJND, MT_1LJND_VA, MT_3LJND_VA)
