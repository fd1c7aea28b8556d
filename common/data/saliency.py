"""Bottom-up saliency of a photograph: where people would probably look first, computed from the pixels alone.

The method is Boolean Map Saliency: J. Zhang and S. Sclaroff, "Exploiting Surroundedness for Saliency Detection: A
Boolean Map Approach", IEEE TPAMI 2016 (first at ICCV 2013).  A figure is a region that something else surrounds (a
face, a sign, a bird in the sky); sky, floor and walls run into the frame.  The steps:

1. the image at about 128 x 128 positions in CIE Lab, its channels whitened (decorrelated, scaled to one variance),
   so that rare colours count as much as light and dark;
2. each channel cut at 24 levels, each cut used both ways, above and below: 144 Boolean maps;
3. of each map, the connected regions that do not touch the frame, widened a little, divided by the map's Euclidean
   norm, so that small figures weigh more than large ones, but none as much as a speck would;
4. their sum, smoothed as maps of fixations are, with a Gaussian of 4 % of the image's size;
5. a mild preference for the centre, where photographers put their subjects and people look.

The steps are the paper's but for the last; the numbers and the limit for specks are ours, chosen by looking at maps
of photographs.

The result is a prediction of attention, not measured gaze.  It knows no faces, no text and no meaning, only colour and
arrangement: eyes and mouths stand out because they are surrounded, what the frame cuts off counts as background, and
a lamp or a highlight may outdo the subject.
"""

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab

AREA = 128 * 128  # positions at which figures are searched
CUTS = 24  # of each channel
NOISE = 5.0  # Lab units; variation below this is not amplified by the whitening
LEAST_RANGE = 1.0  # of the whitened channels, whose standard deviation is 1 at most; one that varies less is left out
WIDENING = 5  # positions
SPECK = 0.02  # of the area: maps with smaller figures weigh no more than these
CENTRE = 0.5  # the preference for it: of this share, the middle of an edge loses 0.63, a corner 0.86
SMOOTHING = 0.04  # standard deviation over the square root of the area


def saliency(image: np.ndarray) -> np.ndarray:
    """Return the saliency of a uint8 RGB image (H, W, 3): float32 (H, W), 0 to 1, the largest value 1.

    Where nothing stands out, as in a flat image, all places are equal before the preference for the centre.  A
    mirrored image has the mirrored map.

        >>> saliency(skimage.data.chelsea())    # largest at the cat's eyes
    """
    height, width = image.shape[:2]
    scale = (AREA / (height * width)) ** 0.5
    small = Image.fromarray(image).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX
    )
    attention = _smooth(_figures(_whitened(rgb2lab(np.asarray(small)))))
    down, across = (np.linspace(-1, 1, length) for length in attention.shape)
    attention *= 1 - CENTRE + CENTRE * np.exp(-(down[:, None] ** 2 + across**2))
    # (about 96, 171) -> (H, W) of a 16:9 image
    attention = np.asarray(Image.fromarray(attention).resize((width, height), Image.Resampling.BILINEAR))
    return attention / attention.max()


def _whitened(lab):
    """Lab (h, w, 3) -> three channels (3, h, w) of mean 0, uncorrelated and of variance 1, if they vary enough."""
    samples = lab.reshape(-1, 3) - lab.mean((0, 1))
    values, axes = np.linalg.eigh(samples.T @ samples / len(samples) + NOISE**2 * np.eye(3))
    # Turned back along the axes: bare principal components swap or flip when an image changes a little.
    return np.moveaxis((samples @ (axes / np.sqrt(values)) @ axes.T).reshape(lab.shape), -1, 0)


def _figures(channels):
    """The weighted sum of the figures in all Boolean maps: (3, h, w) -> (h, w), at least 0."""
    channels = channels[np.ptp(channels, axis=(1, 2)) >= LEAST_RANGE]
    if not len(channels):
        return np.zeros(channels.shape[1:])
    low, high = channels.min((1, 2))[:, None], channels.max((1, 2))[:, None]
    cuts = low + (high - low) * (np.arange(CUTS) + 0.5) / CUTS
    above = channels[:, None] > cuts[:, :, None, None]
    # (3, CUTS, h, w), both ways -> (6 CUTS, h, w)
    maps = np.concatenate([above, ~above]).reshape(-1, *channels.shape[1:])

    within_a_map = np.zeros((3, 3, 3), bool)
    within_a_map[1] = True  # eight neighbours
    regions: np.ndarray
    regions, count = ndimage.label(maps, within_a_map)  # type: ignore[misc]  # SciPy's types miss this pair
    is_figure = np.ones(count + 1, np.uint8)
    is_figure[0] = False
    for edge in (regions[:, 0], regions[:, -1], regions[:, :, 0], regions[:, :, -1]):
        is_figure[edge] = False
    figures = ndimage.maximum_filter(is_figure[regions], size=(1, WIDENING, WIDENING))

    areas = figures.sum((1, 2))
    weights = np.maximum(areas, SPECK * maps[0].size) ** -0.5
    # Not by BLAS: its threads would keep the other cores spinning, which compute other images' maps.
    return np.einsum("m,mhw->hw", weights, figures)


def _smooth(attention):
    """The map (h, w) smoothed, float32 from 0 to 1; ones where it is empty."""
    smooth = ndimage.gaussian_filter(attention, SMOOTHING * attention.size**0.5, mode="nearest")
    smooth -= smooth.min()
    return (smooth / smooth.max() if smooth.max() > 0 else np.ones_like(smooth)).astype(np.float32)
