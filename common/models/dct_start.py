"""An autoencoder's start as a block transform instead of at random."""

from typing import Any

import numpy as np

from common.models.autoencoder import SLOPE

ENCODER = ("encoder_conv_1", "encoder_conv_2", "encoder_conv_3", "latent")
DECODER = ("decoder_deconv_1", "decoder_deconv_2", "decoder_deconv_3", "reconstruction")
COEFFICIENTS = (3, 12, 48, 64, 192)
"""How many coefficients blocks of 1, 2, 4, 8 and 16 pixels a side keep."""


def start_from_dct(autoencoder: Any) -> None:
    """Set the weights of a new autoencoder so that it is a block transform, which needs no training to reconstruct.

    Each stage of the encoder turns 2 x 2 blocks into the lowest coefficients of a discrete cosine transform (DCT) of
    twice the size; the decoder turns them back.  A value takes two channels, x and -x, because
    LeakyReLU(x) - LeakyReLU(-x) is linear.  Channels that no coefficient needs keep their random weights, and nothing
    reads them at first.

    From a random start the network spends its training on finding such a transform, and stays far below it: see
    docs/training.md.
    """
    for stage, (encoder, decoder) in enumerate(zip(ENCODER, reversed(DECODER))):
        kernel = _block_transform(stage)  # (2, 2, values in, values out)
        kernel = _signed(kernel, reads_pairs=stage > 0, writes_pairs=encoder != "latent")
        _set_kernel(autoencoder, encoder, kernel, reads=2, writes=3)
        kernel = _block_transform(stage)
        kernel = _signed(kernel.swapaxes(2, 3), reads_pairs=encoder != "latent", writes_pairs=stage > 0)
        # A transposed convolution's kernel is (height, width, channels out, channels in).
        _set_kernel(autoencoder, decoder, kernel.swapaxes(2, 3), reads=3, writes=2)


def _dct(size: int) -> np.ndarray:
    """The orthonormal cosine transform of a line of pixels: (frequencies, pixels)."""
    lines = np.cos(np.pi * np.outer(np.arange(size), 2 * np.arange(size) + 1) / (2 * size))
    return lines / np.linalg.norm(lines, axis=1, keepdims=True)


def _basis(stage: int) -> np.ndarray:
    """Orthonormal images that blocks behind `stage` stages are made of, the lowest first: (coefficients, H, W, 3)."""
    if stage == 0:
        return np.eye(3)[:, None, None]
    colours = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])  # brightness first
    lines = _dct(2**stage)
    images = np.einsum("yh,xw,oc->yxohwc", lines, lines, colours)
    across = np.arange(len(lines)) + 0.5
    order = np.add.outer(across**2, across**2)[:, :, None] * [1, 4, 6]  # colours vary less, and get fewer
    return images.reshape(-1, *images.shape[3:])[np.argsort(order.ravel(), kind="stable")[: COEFFICIENTS[stage]]]


def _block_transform(stage: int) -> np.ndarray:
    """From 2 x 2 blocks of coefficients to those of the next stage: (2, 2, coefficients in, coefficients out)."""
    fine, coarse = _basis(stage), _basis(stage + 1)
    size = fine.shape[1]
    quarters = coarse.reshape(-1, 2, size, 2, size, 3)
    return np.einsum("oyhxwc,ihwc->yxio", quarters, fine)


def _signed(kernel: np.ndarray, reads_pairs: bool, writes_pairs: bool) -> np.ndarray:
    """A kernel (2, 2, in, out) for values that stand in pairs of channels, x and -x, behind a LeakyReLU."""
    if reads_pairs:
        kernel = np.concatenate([kernel, -kernel], 2) / (1 + SLOPE)
    return np.concatenate([kernel, -kernel], 3) if writes_pairs else kernel


def _set_kernel(model: Any, name: str, kernel: np.ndarray, reads: int, writes: int) -> None:
    """Put `kernel` into the middle of a layer's 5 x 5 kernel; `reads` and `writes` are its axes of channels."""
    layer = model.get_layer(name)
    whole, *bias = layer.get_weights()
    used = [slice(None)] * 4
    used[writes] = slice(kernel.shape[writes])
    whole[tuple(used)] = 0  # what it gives depends on its coefficients only
    unused = [slice(None)] * 4
    unused[reads] = slice(kernel.shape[reads], None)
    whole[tuple(unused)] = 0  # nobody reads the other channels
    # With stride 2 and "same", a 5 x 5 kernel reads from one pixel before its 2 x 2 block.
    whole[1:3, 1:3, : kernel.shape[2], : kernel.shape[3]] = kernel
    layer.set_weights([whole, *bias])
