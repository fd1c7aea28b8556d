# PYTHON_ARGCOMPLETE_OK
"""MJ-LAT: all three JND levels jointly, from the latents of three JND autoencoders (Nami et al., IEEE TCSVT 2024).

    image (B, 352, 640, 3), B, G, R, 0..255
      | encoders of the three frozen JND autoencoders, side by side
    latents 3 x (B, 22, 40, 192)
      | BatchNormalization, LAT(64) each          -> 3 x (B, 22, 40, 64)
      | product of the three                      -> (B, 22, 40, 64)
      | the other blocks of LAT.py                -> (B, 25600)
      | three heads of Dense 256, Dense 128, Dense 1, all ReLU
    JND1_output, JND2_output, JND3_output (B, 1), QP

Deviation: where the outputs' biases start, as in LAT.py.
"""

import sys
from os.path import dirname
from typing import Any

sys.path.insert(0, dirname(__file__))  # which PYTHONSAFEPATH=1 leaves out

from common.core import keras
from common.media.formats import TCSVT
from common.models.autoencoder import latent
from common.models.backbones import Autoencoders
from common.models.blocks import regression_head
from common.models.registry import ModelSpec, Output, register
from LAT import PAPER, stem, trunk

BACKBONE = Autoencoders(("JND1Reconstruction.h5", "JND2Reconstruction.h5", "JND3Reconstruction.h5"))
OUTPUTS = tuple(Output(f"{level}_output", level=level) for level in ("JND1", "JND2", "JND3"))


def build_model(*autoencoders: Any) -> Any:
    """MJ-LAT on the JND1, JND2 and JND3 autoencoders, which it freezes: image (B, 352, 640, 3) -> 3 x QP (B, 1).

    The autoencoders share one input.  26,070,091 parameters with the encoders'; the decoders are not part of it.
    """
    for autoencoder in autoencoders:
        autoencoder.trainable = False
    stems = [stem(latent(autoencoder), f"jnd{jnd}_") for jnd, autoencoder in enumerate(autoencoders, start=1)]
    features = trunk(keras.layers.Multiply(name="product")(stems))
    qps = [regression_head(features, PAPER.hidden, output.name) for output in OUTPUTS]
    return keras.Model(autoencoders[0].input, qps, name="MJ-LAT")


MJLAT = register(
    ModelSpec(
        name="MJ-LAT",
        script=__file__,
        build=build_model,
        outputs=OUTPUTS,
        defaults=PAPER,
        weights="MJLAT.h5",
        input=TCSVT,
        backbone=BACKBONE,
    )
)

if __name__ == "__main__":
    from common.cli.script import main

    main(__doc__, MJLAT)
