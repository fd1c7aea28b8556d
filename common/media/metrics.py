"""Image quality: how far an image is from its original, and how much detail it has."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import skimage  # loads its parts when they are first used

BAND = 128  # rows that are compared at once: scikit-image takes 140 bytes a pixel
HIGHEST_DB = 100.0
"""The PSNR, in dB, that reports state in place of infinity, for an image that is unchanged."""


def psnr(a: np.ndarray, b: np.ndarray, transform: Callable[[np.ndarray], np.ndarray] = np.asarray) -> float:
    """Return the PSNR in dB, peak 255, of two images (H, W, 3) or planes (H, W), over all samples; inf where equal.

    Args:
        a, b: Values 0 to 255, of one shape.
        transform: What is compared of them, such as `luma`; called on some rows at a time.
    """
    mse = _mean_over_bands(lambda a, b: skimage.metrics.mean_squared_error(transform(a), transform(b)), a, b)
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(255**2 / mse))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Return the SSIM, at most 1, of two images (H, W, 3), 0 to 255, at least 11 x 11: the mean over the channels.

    The original's variant (Wang et al., IEEE Trans. Image Processing 2004): 11 x 11 Gaussian window of sigma 1.5,
    biased covariances.  `tf.image.ssim`, which the released programs report, gives the same.
    """
    settings = {"data_range": 255, "channel_axis": -1, "gaussian_weights": True, "sigma": 1.5}
    mean = functools.partial(skimage.metrics.structural_similarity, use_sample_covariance=False, **settings)
    # The mean is over the windows that fit: bands that share ten rows have each window once.
    return float(_mean_over_bands(mean, a, b, shared=10))


def _mean_over_bands(mean: Callable[..., Any], a: np.ndarray, b: np.ndarray, shared: int = 0) -> np.floating:
    """Return `mean(a, b)`, computed band by band; each band of rows includes the first `shared` rows of the next."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"images of one size expected, got {a.shape} and {b.shape}")
    starts = range(0, len(a) - shared, BAND)
    bands = [slice(start, start + BAND + shared) for start in starts]
    means = [mean(a[band], b[band]) for band in bands]
    return np.average(means, weights=[len(a[band]) - shared for band in bands])


def luma(image: np.ndarray) -> np.ndarray:
    """Return Y of uint8 RGB (H, W, 3) as video has it: BT.601 in limited range, float64 (H, W), 16 to 235."""
    return skimage.color.rgb2ycbcr(image)[..., 0]


def compare_images(original: np.ndarray, decoded: np.ndarray) -> dict[str, float | None]:
    """Return {"psnr luma", "psnr rgb" (dB, at most HIGHEST_DB), "ssim"} of two uint8 RGB images (H, W, 3).

    "ssim" is None below 11 x 11 pixels, where it is not defined.
    """
    return {
        "psnr luma": min(psnr(original, decoded, luma), HIGHEST_DB),
        "psnr rgb": min(psnr(original, decoded), HIGHEST_DB),
        "ssim": ssim(original, decoded) if min(original.shape[:2]) >= 11 else None,
    }


def spatial_information(image: np.ndarray) -> float:
    """Return SI of a uint8 RGB image (H, W, 3), at least 3 x 3: the standard deviation of Sobel's gradient of its luma.

    Source: ITU-T P.910, on luma in limited range, without the outermost pixels, where the filter does not fit.
    """
    y = 4 * luma(image)  # scikit-image's kernels are a quarter of Sobel's
    return float(np.hypot(skimage.filters.sobel_h(y), skimage.filters.sobel_v(y))[1:-1, 1:-1].std())
