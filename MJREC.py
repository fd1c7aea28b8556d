# PYTHON_ARGCOMPLETE_OK
"""MJ-REC: all three JND levels jointly, from three reconstructed frames (Nami et al., IEEE TCSVT 2024).

    image (B, 352, 640, 3), B, G, R, 0..255
      | the three frozen JND autoencoders, side by side
    reconstructions 3 x (B, 352, 640, 3)
      | BatchNormalization, REC(512) each         -> 3 x (B, 176, 320, 512)
      | product of the three                      -> (B, 176, 320, 512)
      | the other blocks of REC.py                -> (B, 7040)
      | one Dense 512, then three Dense 1, all ReLU
    JND1_output, JND2_output, JND3_output (B, 1), QP

Deviation: where the outputs' biases start, as in LAT.py.
"""

import sys
from os.path import dirname
from typing import Any

sys.path.insert(0, dirname(__file__))  # which PYTHONSAFEPATH=1 leaves out

from common.core import keras
from common.media.formats import TCSVT
from common.models.blocks import regression_head
from common.models.registry import ModelSpec, register
from MJLAT import BACKBONE, OUTPUTS
from REC import PAPER, stem, trunk


def build_model(*autoencoders: Any) -> Any:
    """MJ-REC on the JND1, JND2 and JND3 autoencoders, which it freezes: image (B, 352, 640, 3) -> 3 x QP (B, 1).

    The autoencoders share one input.  13,886,928 parameters with the autoencoders'.
    """
    for autoencoder in autoencoders:
        autoencoder.trainable = False
    stems = [stem(autoencoder.output, f"jnd{jnd}_") for jnd, autoencoder in enumerate(autoencoders, start=1)]
    features = trunk(keras.layers.Multiply(name="product")(stems))
    for units in PAPER.hidden:
        features = keras.layers.Dense(units, "relu", name="shared_dense")(features)
    qps = [regression_head(features, (), output.name) for output in OUTPUTS]
    return keras.Model(autoencoders[0].input, qps, name="MJ-REC")


MJREC = register(
    ModelSpec(
        name="MJ-REC",
        script=__file__,
        build=build_model,
        outputs=OUTPUTS,
        defaults=PAPER,
        weights="MJREC.h5",
        input=TCSVT,
        backbone=BACKBONE,
        test_batch_size=1,
    )
)

if __name__ == "__main__":
    from common.cli.script import main

    main(__doc__, MJREC)
