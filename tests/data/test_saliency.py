import numpy as np
import pytest
from skimage import data
from skimage.draw import disk

from common.data import saliency as module
from common.data.saliency import saliency


def scene(place, colour, background=(110, 110, 110), radius=20):
    """A dull texture (180, 320) with a disc at `place`, and where the disc is."""
    noise = np.random.default_rng(0).normal(0, 8, (180, 320, 1))
    image = np.clip(np.array(background) + noise, 0, 255).astype(np.uint8)
    inside = np.zeros((180, 320), bool)
    inside[disk(place, radius, shape=inside.shape)] = True
    image[inside] = colour
    return image, inside


@pytest.fixture
def plain(monkeypatch):
    """plain(image): its saliency without the preference for the centre."""

    def compute(image):
        with monkeypatch.context() as without:
            without.setattr(module, "CENTRE", 0)
            return saliency(image)

    return compute


def peak(attention):
    return np.unravel_index(attention.argmax(), attention.shape)


@pytest.mark.parametrize("place", [(60, 70), (120, 230), (90, 160)])
@pytest.mark.parametrize(
    "colour, background",
    [
        ((230, 230, 230), (110, 110, 110)),  # brighter
        ((20, 20, 20), (110, 110, 110)),  # darker
        ((185, 80, 80), (110, 110, 110)),  # of about the same lightness
        ((60, 130, 60), (150, 95, 90)),
    ],
)
def test_it_finds_the_disc(place, colour, background):
    image, inside = scene(place, colour, background)
    attention = saliency(image)
    assert inside[peak(attention)]
    assert attention[inside].mean() > 5 * attention[~inside].mean()


def test_what_the_frame_cuts_off_is_background(plain):
    surrounded, inside = scene((90, 80), (230, 230, 230))
    surrounded[disk((0, 240), 20, shape=inside.shape)] = 230  # the same disc, half outside
    attention = plain(surrounded)
    assert inside[peak(attention)] and attention[:20, 220:260].max() < 0.2


def test_small_figures_weigh_more_than_large_ones_but_a_speck_does_not_win(plain):
    image, small = scene((90, 80), (230, 230, 230), radius=12)
    large = np.zeros_like(small)
    large[disk((90, 220), 60)] = True
    image[large] = 20
    attention = plain(image)
    assert small[peak(attention)] and attention[large].max() > 0.3

    image, inside = scene((90, 80), (200, 200, 200))
    image[60:63, 240:243] = 255
    assert inside[peak(plain(image))]


def test_thin_figures_are_seen(plain):
    image, inside = scene((90, 80), (230, 230, 230))
    image[60:120, 240:242] = 20
    assert plain(image)[90, 241] > 0.4


def test_colours_count_as_much_as_light_and_dark(plain):
    """A faint colour difference is as good as a strong difference in lightness that fills the image."""
    image = np.repeat(np.linspace(20, 230, 320)[None, :, None], 180, 0) * np.ones(3)
    image[70:110, 100:140] += (12, -8, 4)  # the lightness of its surroundings
    assert 65 <= peak(plain(image.astype(np.uint8)))[0] < 115
    assert 95 <= peak(plain(image.astype(np.uint8)))[1] < 145


def test_real_photographs():
    row, column = peak(saliency(data.chelsea()))  # the cat's right eye
    assert abs(row - 113) < 20 and abs(column - 176) < 25
    cup = saliency(data.coffee())
    assert cup[60:320, 140:470].mean() > 2 * np.delete(cup, np.s_[140:470], axis=1).mean()


def test_a_mirrored_image_has_the_mirrored_map():
    image = data.coffee()[:360]
    for turned in (np.s_[:, ::-1], np.s_[::-1], np.s_[::-1, ::-1]):
        assert np.allclose(saliency(np.ascontiguousarray(image[turned])), saliency(image)[turned], atol=1e-5)


def test_the_size_of_the_image_hardly_matters():
    image = data.coffee()
    attention, doubled = saliency(image), saliency(image.repeat(2, 0).repeat(2, 1))
    assert np.corrcoef(attention.ravel(), doubled[::2, ::2].ravel())[0, 1] > 0.995


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (1, 400), (500, 2), (37, 61), (720, 1280)])
def test_shape_and_range(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    attention = saliency(image)
    assert attention.shape == shape and attention.dtype == np.float32
    assert attention.max() == 1 and attention.min() >= 0


@pytest.mark.parametrize("noise", [0, 1, 2])
def test_where_nothing_stands_out_only_the_centre_counts(noise, plain):
    image = (128 + np.random.default_rng(0).integers(-noise, noise, (90, 160, 3), endpoint=True)).astype(np.uint8)
    assert (plain(image) == 1).all()
    attention = saliency(image)
    row, column = peak(attention)
    assert abs(row - 44.5) < 2 and abs(column - 79.5) < 2
    assert attention[0, 0] == pytest.approx(1 - 0.5 * (1 - np.exp(-2)), abs=0.01)
    assert attention[0, 80] == pytest.approx(1 - 0.5 * (1 - np.exp(-1)), abs=0.01)
