"""E2E-REC: a JND level and its frame, the level learned from the frame, end to end (Nami et al., IEEE TCSVT 2024).

    picture (B, 352, 640, 3), B, G, R, 0..255
      | autoencoder without its last layer, which starts from ImgReconstruction.h5 and trains
      | ConvTranspose 5x5/2, 3, a new one
    JNDImg (B, 352, 640, 3), 0..255
      | REC's blocks and head, REC.py
    JND_output (B, 1), QP

Loss and targets as E2ELAT.py.  Deviation: where the output's bias starts, as in LAT.py.
"""

from common.cli.script import main
from common.models.registry import end_to_end
from REC import PAPER, stem, trunk


def build_model(autoencoder):
    """E2E-REC on an autoencoder: a Keras model, picture (B, 352, 640, 3) -> [JNDImg, JND_output].

    8,078,384 parameters, all of which train.
    """
    import keras

    from common.models.autoencoder import new_reconstruction
    from common.models.blocks import regression_head

    image = new_reconstruction(autoencoder, "JNDImg")
    level = regression_head(trunk(stem(image)), PAPER.hidden, "JND_output")
    return keras.Model(autoencoder.input, [image, level], name="E2E-REC")


E2EREC = end_to_end("E2E-REC", build_model, PAPER, weights="E2ERECJND{level}.h5", test_batch_size=1)

if __name__ == "__main__":
    main(__doc__, E2EREC)
