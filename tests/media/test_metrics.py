import tracemalloc

import numpy as np
import pytest
from skimage import data

from common.media.metrics import luma, psnr, spatial_information, ssim


def test_psnr_of_a_known_error():
    a = np.full((20, 30, 3), 100, np.uint8)
    assert psnr(a, a + np.uint8(5)) == pytest.approx(10 * np.log10(255**2 / 25))
    assert psnr(a, a) == np.inf


def test_ssim_is_one_for_equal_images_and_falls_with_noise():
    a = data.chelsea()[:100, :120]
    noise = np.random.default_rng(0).normal(0, 10, a.shape)
    values = [ssim(a, np.clip(a + k * noise, 0, 255).astype(np.uint8)) for k in (0, 1, 2)]
    assert values[0] == 1 and values[0] > values[1] > values[2]


def test_ssim_is_the_original_variant():
    """Against the definition, written out: Gaussian window, biased moments, only where the window fits."""
    from scipy.ndimage import gaussian_filter

    a, b = data.chelsea()[:60, :70].astype(float), data.chelsea()[1:61, :70].astype(float)

    def mean(x):
        return gaussian_filter(x, 1.5, truncate=3.5, axes=(0, 1))

    over = mean(a * b) - mean(a) * mean(b)
    parts = (2 * mean(a) * mean(b) + 2.55**2) * (2 * over + 7.65**2)
    parts /= (mean(a) ** 2 + mean(b) ** 2 + 2.55**2) * (
        mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2 + 7.65**2
    )
    assert ssim(a, b) == pytest.approx(parts[5:-5, 5:-5].mean(), abs=1e-9)


def test_large_images_are_compared_band_by_band():
    """With the same result as at once, in memory that does not grow with the height."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    a = data.chelsea()  # 300 rows
    b = np.clip(a + np.random.default_rng(0).normal(0, 10, a.shape) * (a > 99), 0, 255).astype(np.uint8)
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    assert ssim(a, b) == pytest.approx(
        structural_similarity(a, b, data_range=255, channel_axis=-1, **settings), abs=1e-12
    )
    assert psnr(a, b) == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-10)
    assert psnr(a, b, luma) == pytest.approx(peak_signal_noise_ratio(luma(a), luma(b), data_range=255), abs=1e-10)
    for compare in (ssim, psnr):
        peaks = []
        for times in (1, 4):
            pair = [np.tile(image, (times, 1, 1)) for image in (a, b)]
            tracemalloc.start()
            compare(*pair)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.2 * peaks[0]
    with pytest.raises(ValueError, match="one size"):
        psnr(a[:-1], a)


def test_spatial_information_of_an_edge():
    """Sobel gives four times the step in the two columns next to it, of the 18 that count, and nothing elsewhere."""
    edge = np.zeros((12, 20, 3), np.uint8)
    edge[:, 10:] = 255  # luma 16 to 235
    gradient = np.array([4 * 219] * 2 + [0] * 16)
    assert spatial_information(edge) == pytest.approx(gradient.std(), rel=1e-3)
