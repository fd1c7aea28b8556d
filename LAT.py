"""LAT: one JND level from the latent of the JND autoencoder (Nami et al., IEEE TCSVT 2024, the latent-based method).

    picture (B, 352, 640, 3), B, G, R, 0..255
      | encoder of the frozen JND autoencoder of the level, common/autoencoder.py
    latent (B, 22, 40, 192)
      | BatchNormalization, LAT(64), LAT(128)
      | MaxPool 2                                 -> (B, 11, 20, 128)
      | LAT(256), LAT(512)
      | MaxPool 2, Flatten                        -> (B, 25600)
      | Dense 256, Dense 128, Dense 1, all ReLU
    JND_output (B, 1), QP

LAT(f) is Conv 3x3, BatchNormalization, ReLU and channel attention, common/blocks.py.

Deviation: in training the output's bias starts at the mean training label, because a ReLU that starts at zero is often
dead on arrival; `--output_bias zero` starts as the released program does.
"""

from dataclasses import dataclass

from common import cli
from common.variant import Variant


@dataclass(frozen=True)
class Paper:
    """The numbers of the paper and of the released program."""

    blocks_before_pool: tuple = (64, 128)
    blocks_after_pool: tuple = (256, 512)
    hidden: tuple = (256, 128)
    epochs: int = 300
    batch_size: int = 8
    learning_rate: float = 1e-5


PAPER = Paper()


def build_model(autoencoder):
    """LAT on a JND autoencoder, which it freezes: a Keras model, picture (B, 352, 640, 3) -> QP (B, 1).

    9,783,225 parameters with the encoder's; the decoder is no part of it.

        >>> from common.autoencoder import build_autoencoder
        >>> build_model(build_autoencoder()).count_params()
        9783225
    """
    import keras
    from keras import layers

    from common.autoencoder import latent
    from common.blocks import lat_block, regression_head

    autoencoder.trainable = False
    x = layers.BatchNormalization(name="latent_norm")(latent(autoencoder))
    for filters in PAPER.blocks_before_pool:
        x = lat_block(x, filters, f"lat_{filters}")
    x = layers.MaxPooling2D(name="pool_1")(x)  # (B, 22, 40, 128) -> (B, 11, 20, 128)
    for filters in PAPER.blocks_after_pool:
        x = lat_block(x, filters, f"lat_{filters}")
    x = layers.MaxPooling2D(name="pool_2")(x)  # (B, 11, 20, 512) -> (B, 5, 10, 512)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(autoencoder.input, regression_head(x, PAPER.hidden, "JND_output"), name="LAT")


LAT = Variant(
    name="LAT", build=build_model, backbones=("JND{level}Reconstruction.h5",), weights="LATJND{level}.h5", paper=PAPER
)

if __name__ == "__main__":
    cli.run(lambda: cli.script(LAT, __doc__))
