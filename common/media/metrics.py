"""How far apart: two pictures in PSNR and SSIM, two lists of JND levels in QP; and the floor that a model must beat."""

import functools

import numpy as np

BAND = 128  # rows that are compared at once: skimage takes 140 bytes a pixel
HIGHEST_DB = 100.0
"""In place of infinity, where a picture comes through unchanged."""


def psnr(a, b, of=np.asarray):
    """PSNR in dB of two pictures (H, W, 3) or lumas (H, W), peak 255, over all their samples; inf where equal.

    of: what is compared of them, such as `luma`; called on some rows at a time.
    """
    from skimage.metrics import mean_squared_error

    mse = _mean_over_bands(lambda a, b: mean_squared_error(of(a), of(b)), a, b)
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(255**2 / mse))


def ssim(a, b):
    """SSIM, at most 1, of two pictures (H, W, 3), values 0..255, at least 11 x 11: the mean over the channels.

    The original's variant (Wang et al., IEEE Trans. Image Processing 2004): 11 x 11 Gaussian window of sigma 1.5,
    biased covariances.  `tf.image.ssim`, which the released programs report, gives the same.
    """
    from skimage.metrics import structural_similarity

    how = {"data_range": 255, "channel_axis": -1, "gaussian_weights": True, "sigma": 1.5}
    mean = functools.partial(structural_similarity, use_sample_covariance=False, **how)
    # The mean is over the windows that fit: bands that share ten rows have each of them once.
    return float(_mean_over_bands(mean, a, b, shared=10))


def _mean_over_bands(mean, a, b, shared=0):
    """`mean` of two arrays, taken of some of their rows at a time, each with the next `shared`, and weighted."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise ValueError(f"pictures of one size expected, got {a.shape} and {b.shape}")
    starts = range(0, len(a) - shared, BAND)
    bands = [slice(start, start + BAND + shared) for start in starts]
    means = [mean(a[band], b[band]) for band in bands]
    return np.average(means, weights=[len(a[band]) - shared for band in bands])


def luma(picture):
    """Y of uint8 RGB (H, W, 3) as video has it: BT.601 in limited range, float64 (H, W), 16..235."""
    from skimage.color import rgb2ycbcr

    return rgb2ycbcr(picture)[..., 0]


def spatial_information(picture):
    """SI of a uint8 RGB picture (H, W, 3), at least 3 x 3: the standard deviation of Sobel's gradient of its luma.

    Source: ITU-T P.910, on luma in limited range and without the outermost pixels, where the filter does not fit.
    """
    from skimage.filters import sobel_h, sobel_v

    y = 4 * luma(picture)  # scikit-image's kernels are a quarter of Sobel's
    return float(np.hypot(sobel_h(y), sobel_v(y))[1:-1, 1:-1].std())
