"""The VGG16 backbone of the MTJND models, with Keras's layer names, and where its ImageNet weights come from."""

from pathlib import Path

import keras

from common.core.errors import UserError
from common.models import weight_files

LAST_FROZEN = "block3_conv3"  # of the first ten layers, which do not train
URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)


def build_vgg(shape, source="none"):
    """VGG16 without its top (arXiv 1409.1556): picture (B, *shape) -> block5_pool (B, H // 32, W // 32, 512).

    Its first ten layers, through block3_conv3, are frozen.  source: `imagenet`, which Keras fetches; `none`, a random
    start; or a local weight file.  Raises UserError when ImageNet's cannot be fetched, or a file does not fit.
    """
    try:
        network = "imagenet" if source == "imagenet" else None
        vgg = keras.applications.VGG16(include_top=False, weights=network, input_shape=shape)
    except Exception as error:  # whatever went wrong on the way to the file
        raise UserError(
            f"ImageNet's VGG16 cannot be fetched ({error}); fetch {URL} elsewhere and name the file by --vgg_weights, "
            f"or put it into {Path.home() / '.keras' / 'models'}; --vgg_weights none starts from random weights"
        ) from None
    if source not in ("imagenet", "none"):
        weight_files.load(vgg, source, "VGG16")
    for layer in vgg.layers:
        layer.trainable = False
        if layer.name == LAST_FROZEN:
            return vgg
    raise AssertionError(f"no {LAST_FROZEN} in VGG16")
