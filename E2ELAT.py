"""E2E-LAT: a JND level and its frame, learned end to end from the latent (Nami et al., IEEE TCSVT 2024).

    picture (B, 352, 640, 3), B, G, R, 0..255
      | encoder, which starts from ImgReconstruction.h5 and trains
    latent (B, 22, 40, 192) --------------------- LAT's blocks and head, LAT.py
      | decoder, without its last layer             |
      | ConvTranspose 5x5/2, 3, a new one           |
    JNDImg (B, 352, 640, 3), 0..255               JND_output (B, 1), QP

Loss: 0.01 x MSE(JNDImg) + 0.99 x MAE(JND_output).  Targets: the frames of jnd1train/, jnd1valid/ (jnd2..., jnd3...).

Deviation: where the output's bias starts, as in LAT.py.
"""

from common.cli.script import main
from common.models.registry import end_to_end
from LAT import PAPER, stem, trunk


def build_model(autoencoder):
    """E2E-LAT on an autoencoder: a Keras model, picture (B, 352, 640, 3) -> [JNDImg, JND_output].

    11,226,812 parameters, all of which train.
    """
    import keras

    from common.models.autoencoder import latent, new_reconstruction
    from common.models.blocks import regression_head

    image = new_reconstruction(autoencoder, "JNDImg")
    level = regression_head(trunk(stem(latent(autoencoder))), PAPER.hidden, "JND_output")
    return keras.Model(autoencoder.input, [image, level], name="E2E-LAT")


E2ELAT = end_to_end("E2E-LAT", build_model, PAPER, weights="E2ELATJND{level}.h5")

if __name__ == "__main__":
    main(__doc__, E2ELAT)
