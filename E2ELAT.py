# PYTHON_ARGCOMPLETE_OK
"""E2E-LAT: a JND level and its frame, learned end to end from the latent (Nami et al., IEEE TCSVT 2024).

    image (B, 352, 640, 3), B, G, R, 0..255
      | encoder, which starts from ImgReconstruction.h5 and trains
    latent (B, 22, 40, 192) --------------------- LAT's blocks and head, LAT.py
      | decoder, without its last layer             |
      | ConvTranspose 5x5/2, 3, a new one           |
    JNDImg (B, 352, 640, 3), 0..255               JND_output (B, 1), QP

Loss: 0.01 x MSE(JNDImg) + 0.99 x MAE(JND_output).  Targets: the frames of jnd1train/, jnd1valid/ (jnd2..., jnd3...).

Deviation: where the output's bias starts, as in LAT.py.
"""

import sys
from os.path import dirname
from typing import Any

sys.path.insert(0, dirname(__file__))  # which PYTHONSAFEPATH=1 leaves out

from common.core import keras
from common.media.formats import TCSVT
from common.models.autoencoder import latent, new_reconstruction
from common.models.backbones import Autoencoders
from common.models.blocks import regression_head
from common.models.registry import ModelSpec, Output, register
from LAT import PAPER, stem, trunk

BACKBONE = Autoencoders(("ImgReconstruction.h5",), flag="--ImgReconstrution_Model_Path")
OUTPUTS = (
    Output("JNDImg", target="frame", loss="mse", weight=0.01, metrics=("psnr", "ssim", "mae")),
    Output("JND_output", weight=0.99),
)


def build_model(autoencoder: Any) -> Any:
    """E2E-LAT on an autoencoder: a Keras model, image (B, 352, 640, 3) -> [JNDImg, JND_output].

    11,226,812 parameters, all of which train.
    """
    frame = new_reconstruction(autoencoder, "JNDImg")
    qp = regression_head(trunk(stem(latent(autoencoder))), PAPER.hidden, "JND_output")
    return keras.Model(autoencoder.input, [frame, qp], name="E2E-LAT")


E2ELAT = register(
    ModelSpec(
        name="E2E-LAT",
        script=__file__,
        build=build_model,
        outputs=OUTPUTS,
        defaults=PAPER,
        weights="E2ELATJND{jnd}.h5",
        input=TCSVT,
        backbone=BACKBONE,
    )
)

if __name__ == "__main__":
    from common.cli.script import main

    main(__doc__, E2ELAT)
