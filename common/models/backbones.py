"""The networks that models are built on: autoencoders, or VGG16, with their weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.core import keras
from common.core.environment import PRETRAINED
from common.core.errors import UserError
from common.core.startup import keras_home
from common.media.formats import InputFormat
from common.models import weight_search
from common.models.autoencoder import build_autoencoder
from common.models.registry import Backbone, ModelSpec

LAST_FROZEN = "block3_conv3"  # of the first ten layers of VGG16, which do not train
VGG16_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)


@dataclass(frozen=True)
class Autoencoders(Backbone):
    """One or more autoencoders side by side on one image; `files`: their weight files, `{jnd}` for the level."""

    files: tuple[str, ...]
    flag: str = "--JND_Recon_Models_Path"
    default = PRETRAINED
    optional_in_test = True
    step = 16  # the autoencoder halves four times and doubles as often

    def help(self) -> str:
        return f"{', '.join(self.files).format(jnd=1)}, or a folder that holds it"

    def find(self, weights: str | Path | None, level: str | None, owner: str) -> list[Path | None]:
        if weights is None:
            return [None] * len(self.files)
        names = [name.format(jnd=(level or "")[-1:]) for name in self.files]
        return [weight_search.find(weights, [name], f"{owner}'s autoencoder") for name in names]

    def build(self, input_format: InputFormat, weights: list[Path | None], owner: str) -> list[Any]:
        image, several = keras.Input(input_format.shape, name="picture"), len(weights) > 1
        networks = []
        for number, file in enumerate(weights, start=1):
            networks.append(build_autoencoder(image, prefix=f"jnd{number}_" if several else ""))
            if file is not None:
                weight_search.load(networks[-1], file, f"{owner}'s autoencoder")
        return networks


@dataclass(frozen=True)
class VGG16(Backbone):
    """VGG16 without its top (arXiv 1409.1556), its first ten layers frozen.

    Image (B, H, W, 3) -> block5_pool (B, H // 32, W // 32, 512).
    """

    flag = "--vgg_weights"
    default = "imagenet"

    def help(self) -> str:
        return "what VGG16 starts from: imagenet, a local file of its weights without top, or none"

    def find(self, weights: str | None, level: str | None, owner: str) -> list[str | None]:
        if weights in ("imagenet", "none", None):
            return [weights]
        return [str(weight_search.find(weights, [Path(VGG16_URL).name], f"{owner}'s VGG16"))]

    def build(self, input_format: InputFormat, weights: list[str | None], owner: str) -> list[Any]:
        (source,) = weights
        try:
            given = "imagenet" if source == "imagenet" else None
            vgg = keras.applications.VGG16(include_top=False, weights=given, input_shape=input_format.shape)
        except Exception as error:  # whatever went wrong on the way to the file
            raise UserError(
                f"ImageNet's VGG16 cannot be fetched ({error}); fetch {VGG16_URL} elsewhere and name the file by "
                f"--vgg_weights, or put it into {keras_home() / 'models'}; --vgg_weights none starts from "
                "random weights"
            ) from None
        if source not in ("imagenet", "none", None):
            weight_search.load(vgg, Path(source), "VGG16")
        for layer in vgg.layers:
            layer.trainable = False
            if layer.name == LAST_FROZEN:
                break
        return [vgg]


def build_network(spec: ModelSpec, weights: list[Any] | None = None) -> Any:
    """Build the Keras model of a ModelSpec, its backbone with the weights of `Backbone.find`, or random ones."""
    if spec.backbone is None:
        return spec.build(spec.input.shape)
    networks = spec.backbone.build(spec.input, weights or spec.backbone.find(None, None, spec.name), spec.name)
    return spec.build(*networks)
