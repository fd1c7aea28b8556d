"""MJ-LAT: all three JND levels jointly, from the latents of three JND autoencoders (Nami et al., IEEE TCSVT 2024).

    picture (B, 352, 640, 3), B, G, R, 0..255
      | encoders of the three frozen JND autoencoders, side by side
    latents 3 x (B, 22, 40, 192)
      | BatchNormalization, LAT(64) each          -> 3 x (B, 22, 40, 64)
      | product of the three                      -> (B, 22, 40, 64)
      | the other blocks of LAT.py                -> (B, 25600)
      | three heads of Dense 256, Dense 128, Dense 1, all ReLU
    JND1_output, JND2_output, JND3_output (B, 1), QP

Deviation: where the outputs' biases start, as in LAT.py.
"""

from common.cli.script import main
from common.models.registry import multi_jnd
from LAT import PAPER, stem, trunk


def build_model(*autoencoders):
    """MJ-LAT on the JND1, JND2 and JND3 autoencoders, which it freezes: picture (B, 352, 640, 3) -> 3 x QP (B, 1).

    The autoencoders share one input.  26,070,091 parameters with the encoders'; the decoders are no part of it.
    """
    import keras
    from keras import layers

    from common.models.autoencoder import latent
    from common.models.blocks import regression_head

    for autoencoder in autoencoders:
        autoencoder.trainable = False
    stems = [stem(latent(autoencoder), f"jnd{level}_") for level, autoencoder in enumerate(autoencoders, start=1)]
    features = trunk(layers.Multiply(name="product")(stems))
    levels = [regression_head(features, PAPER.hidden, f"JND{level}_output") for level in (1, 2, 3)]
    return keras.Model(autoencoders[0].input, levels, name="MJ-LAT")


MJLAT = multi_jnd("MJ-LAT", build_model, PAPER, weights="MJLAT.h5")

if __name__ == "__main__":
    main(__doc__, MJLAT)
