"""Image quality: how far an image is from its original, and how much detail it has."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

BAND = 32  # rows that are compared at once, which hardly leave the processor's cache
HIGHEST_DB = 100.0
"""The PSNR, in dB, that reports state in place of infinity, for an image that is unchanged."""

WINDOW = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
WINDOW /= WINDOW.sum()
"""SSIM's, along one axis."""

LUMA = np.array([65.481, 128.553, 24.966]) / 255
"""The weights of R, G and B in BT.601's Y, limited range."""


def psnr(a: np.ndarray, b: np.ndarray, transform: Callable[[np.ndarray], np.ndarray] = np.asarray) -> float:
    """Return the PSNR in dB, peak 255, of two images (H, W, 3) or planes (H, W), over all samples; inf where equal.

    Args:
        a, b: Values 0 to 255, of one shape.
        transform: What is compared of them, such as `luma`; called on some rows at a time.
    """
    mse = _mean_over_bands(lambda a, b: np.square(np.subtract(transform(a), transform(b), dtype=float)).mean(), a, b)
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(255**2 / mse))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Return the SSIM, at most 1, of two images (H, W, 3), 0 to 255, at least 11 x 11: the mean over the channels.

    The original's variant (Wang et al., IEEE Trans. Image Processing 2004): 11 x 11 Gaussian window of sigma 1.5,
    biased covariances.  `tf.image.ssim`, which the released programs report, gives the same.
    """
    # The mean is over the windows that fit: bands that share ten rows have each window once.
    return float(_mean_over_bands(_mean_ssim, a, b, shared=len(WINDOW) - 1))


def _mean_ssim(a: np.ndarray, b: np.ndarray) -> np.floating:
    """The SSIM of some rows of two images (H, W, 3)."""
    a, b = (image.astype(float).reshape(len(image), -1) for image in (a, b))  # (H, 3 W): one stride a direction
    mean_a, mean_b = _window_means(a), _window_means(b)
    variances = _window_means(a * a + b * b) - mean_a**2 - mean_b**2
    covariance = _window_means(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    parts = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (parts / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))).mean()


def _window_means(x: np.ndarray) -> np.ndarray:
    """The means under WINDOW wherever it fits into (H, 3 W), three samples a pixel."""
    x = sliding_window_view(x, len(WINDOW), axis=0) @ WINDOW
    return sliding_window_view(x, 3 * len(WINDOW) - 2, axis=1)[..., ::3] @ WINDOW


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
    return image @ LUMA + 16


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
    y = luma(image)
    rows, columns = y[:-2] + 2 * y[1:-1] + y[2:], y[:, :-2] + 2 * y[:, 1:-1] + y[:, 2:]
    return float(np.hypot(rows[:, 2:] - rows[:, :-2], columns[2:] - columns[:-2]).std())
