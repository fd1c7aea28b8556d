# PYTHON_ARGCOMPLETE_OK
"""E2E-REC: a JND level and its frame, the level learned from the frame, end to end (Nami et al., IEEE TCSVT 2024).

    image (B, 352, 640, 3), B, G, R, 0..255
      | autoencoder without its last layer, which starts from ImgReconstruction.h5 and trains
      | ConvTranspose 5x5/2, 3, a new one
    JNDImg (B, 352, 640, 3), 0..255
      | REC's blocks and head, REC.py
    JND_output (B, 1), QP

Loss and targets as E2ELAT.py.  Deviation: where the output's bias starts, as in LAT.py.
"""

import sys
from os.path import dirname
from typing import Any

sys.path.insert(0, dirname(__file__))  # which PYTHONSAFEPATH=1 leaves out

from common.core import keras
from common.media.formats import TCSVT
from common.models.autoencoder import new_reconstruction
from common.models.blocks import regression_head
from common.models.registry import ModelSpec, register
from E2ELAT import BACKBONE, OUTPUTS
from REC import PAPER, stem, trunk


def build_model(autoencoder: Any) -> Any:
    """E2E-REC on an autoencoder: a Keras model, image (B, 352, 640, 3) -> [JNDImg, JND_output].

    8,078,384 parameters, all of which train.
    """
    frame = new_reconstruction(autoencoder, "JNDImg")
    qp = regression_head(trunk(stem(frame)), PAPER.hidden, "JND_output")
    return keras.Model(autoencoder.input, [frame, qp], name="E2E-REC")


E2EREC = register(
    ModelSpec(
        name="E2E-REC",
        script=__file__,
        build=build_model,
        outputs=OUTPUTS,
        defaults=PAPER,
        weights="E2ERECJND{jnd}.h5",
        input=TCSVT,
        backbone=BACKBONE,
        test_batch_size=1,
    )
)

if __name__ == "__main__":
    from common.cli.script import main

    main(__doc__, E2EREC)
