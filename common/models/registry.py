"""What a script says of its model, so that the command line, training and testing need not know which one it is."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from common.media.images import TCSVT, InputFormat


@dataclass(frozen=True)
class ModelSpec:
    """One of the papers' models.

    name: as the papers write it.
    build: makes the Keras model from its backbones, the networks that it stands on; on VGG16, from it and the names
        of the outputs.
    paper: with the paper's `epochs`, `batch_size` and `learning_rate`.
    weights: the released weight file's name, `{level}` for the number of the JND level.
    backbones: file names of the autoencoders it stands on, `{level}` likewise.
    vgg: stands on VGG16 instead.
    attention: trains together with a visual-attention tail, which the model that predicts is without.
    backbone_flag: the command line's name, as released, for where these lie.
    joint: learns all three levels at once; else one.
    image_output: the name of its image output, whose target is the JND frame, where it has one.
    image_loss_weight: the share of that image's MSE in the loss; the level's MAE has the rest.
    checkpoint: what `train` calls the best weights, and `log` the losses, `{label}` for JND1 to JND3, or nothing.
    test_batch_size: how many pictures `test` predicts at once; more than a few cost memory and gain nothing on a CPU.
    input: size and scale of the pictures that it sees.
    """

    name: str
    build: Callable
    paper: Any
    weights: str
    backbones: tuple = ()
    vgg: bool = False
    attention: bool = False
    backbone_flag: str = "--JND_Recon_Models_Path"
    joint: bool = False
    image_output: str | None = None
    image_loss_weight: float = 0.0
    checkpoint: str = "BestModel{label}.h5"
    log: str = "logs{label}.csv"
    test_batch_size: int = 2
    input: InputFormat = TCSVT

    @property
    def needs_level(self):
        """Whether a level must be chosen, 1 to 3; else the model answers all three at once."""
        return not self.joint

    def level_outputs(self, level):
        """The outputs that give levels: {name of the output: number of the level}."""
        return {f"JND{number}_output": number for number in (1, 2, 3)} if self.joint else {"JND_output": level}

    def resized(self, height, width):
        """The same model for pictures of another size; raises ValueError where its layers cannot take it."""
        step = 1 if self.vgg else 16  # the autoencoder halves four times and doubles as often
        if height % step or width % step or min(height, width) < 64:
            raise ValueError(f"expected at least 64{'' if self.vgg else ', in multiples of 16'}")
        return replace(self, input=replace(self.input, height=height, width=width, frame=(width, height)))

    def label(self, level):
        """What the files of a level (1 to 3) are marked with: JND1; nothing where all levels are in one file."""
        return "" if self.joint else f"JND{level}"

    def weight_names(self, level):
        """What the file of a level may be called: as released, or as `train` writes it."""
        return self.weights.format(level=level), self.checkpoint_name(level)

    def checkpoint_name(self, level):
        return self.checkpoint.format(label=self.label(level))

    def log_name(self, level):
        return self.log.format(label=self.label(level))

    def result_name(self, level):
        return f"{self.label(level)}test_results.csv"


one_level = partial(ModelSpec, backbones=("JND{level}Reconstruction.h5",))
"""LAT, REC: on the frozen JND autoencoder of the level."""

end_to_end = partial(
    ModelSpec,
    backbones=("ImgReconstruction.h5",),
    backbone_flag="--ImgReconstrution_Model_Path",
    image_output="JNDImg",
    image_loss_weight=0.01,
)
"""E2E-LAT, E2E-REC: on the image autoencoder, all of which trains, with the JND frame as a second target."""

multi_jnd = partial(
    ModelSpec, backbones=("JND1Reconstruction.h5", "JND2Reconstruction.h5", "JND3Reconstruction.h5"), joint=True
)
"""MJ-LAT, MJ-REC: on all three frozen JND autoencoders, all three levels at once."""


def get_model(name: str) -> ModelSpec:
    """The ModelSpec called `name`, of the script that holds it; raises ValueError where there is none."""
    from common.models.released import RELEASED

    programs = {entry.model: entry.network.program for entry in RELEASED if entry.model != "autoencoder"}
    if name not in programs:
        raise ValueError(f"no model {name!r}; there are {', '.join(programs)}")
    # By name and when asked for: the scripts stand on `common`, not the other way round.
    script = importlib.import_module(programs[name].removesuffix(".py"))
    return next(value for value in vars(script).values() if isinstance(value, ModelSpec) and value.name == name)
