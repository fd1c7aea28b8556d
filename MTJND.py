"""MTJND: JND levels from a VGG16 backbone (Nami et al., ICIP 2023): MT_3LJND, MT_1LJND_VA, MT_3LJND_VA.

    picture (B, 270, 480, 3), B, G, R, 0..1, no mean subtracted
      | VGG16 without top, its first ten layers (through block3_conv3) frozen
    block5_pool (B, 8, 15, 512)
      | Flatten                                   -> (B, 61440)
      | a head a level: Dense 256, Dense 128, Dense 1, all ReLU
    MT_3LJND, MT_3LJND_VA: JND1_output, JND2_output, JND3_output (B, 1), QP
    MT_1LJND_VA:           JND_output (B, 1), QP; one weight file a level

VA is a visual-attention tail that shares the backbone in training; it is no part of the network that predicts, so that
the weights of MT_3LJND and MT_3LJND_VA fit the same one.  Its loss, weighted by --attention_weight, joins the levels'
MAE; its targets are the maps of vatrain/ and vavalid/, named as the pictures.

Deviations: where the outputs' biases start, as in LAT.py.  The papers' tail is not public: this one, its loss and its
weight are ours, common/models/attention_decoder.py.
"""

from dataclasses import dataclass

from common.cli.script import main
from common.media.images import MTJND
from common.models.registry import ModelSpec


@dataclass(frozen=True)
class Paper:
    """The numbers of the paper and of the released program."""

    hidden: tuple = (256, 128)
    epochs: int = 500
    batch_size: int = 8
    learning_rate: float = 1e-5


PAPER = Paper()


def build_model(vgg, outputs):
    """MTJND on VGG16, picture (B, 270, 480, 3) -> a QP (B, 1) for each of `outputs`, the names of its heads.

    62,000,451 parameters with three heads, 30,476,609 with one.
    """
    import keras
    from keras import layers

    from common.models.blocks import regression_head

    features = layers.Flatten(name="flatten")(vgg.output)  # (B, 8, 15, 512) -> (B, 61440)
    return keras.Model(vgg.input, [regression_head(features, PAPER.hidden, name) for name in outputs], name="MTJND")


VGG = {"vgg": True, "test_batch_size": 2, "input": MTJND}
MT_3LJND = ModelSpec("MT_3LJND", build_model, PAPER, weights="MT_3LJND.h5", joint=True, **VGG)
MT_1LJND_VA = ModelSpec("MT_1LJND_VA", build_model, PAPER, weights="MT_JND{level}_VA.h5", attention=True, **VGG)
MT_3LJND_VA = ModelSpec("MT_3LJND_VA", build_model, PAPER, weights="MT_3LJND_VA.h5", attention=True, joint=True, **VGG)

if __name__ == "__main__":
    main(__doc__, MT_3LJND, MT_1LJND_VA, MT_3LJND_VA)
