"""Predictor, the library's way to predict: from Python, shared by threads, many images at once."""

import dataclasses
import functools
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import small
from PIL import Image
from skimage import data

from common import load
from common.core.errors import UserError
from common.media.images import write_png
from common.prediction import resize_modes


@pytest.fixture(scope="module")
def predictor(weight_files):
    return load("LAT", 1, weight_files)


@pytest.fixture(scope="module")
def small_predictor(small_weights):
    """Where it does not matter what a network predicts."""
    return load(small.SMALL, weights=small_weights)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    images = data.coffee()[:338, :600], data.astronaut()[:360], np.rot90(data.coffee()).copy()
    for number, pixels in enumerate(images):
        write_png(folder / f"{number}.png", pixels)
    return [folder / f"{number}.png" for number in range(3)]


def test_a_predictor_takes_arrays_and_paths_and_many_at_once(small_predictor, files):
    predictor, files = small_predictor, files * 3
    assert repr(predictor).startswith("<Predictor small: JND1; weights /") and "Best.h5; on " in repr(predictor)
    one_by_one = [predictor(file) for file in files]
    assert one_by_one[0].size == (338, 600) and predictor.levels == ("JND1",)
    shown, qp = one_by_one[1]._replace(warning="a < b")._repr_html_(), one_by_one[1].levels["JND1"]
    assert f"<th>JND1</th><td>QP {qp:.2f}</td>" in shown and "a &lt; b" in shown
    arrays = [np.asarray(Image.open(file)) for file in files]
    for several in (predictor.batch(files), predictor.batch(arrays)):
        for prediction, expected in zip(several, one_by_one, strict=True):
            assert prediction.levels["JND1"] == pytest.approx(expected.levels["JND1"], rel=1e-5)
    with pytest.raises(ValueError, match="uint8 .* expected, got float64"):
        predictor(np.zeros((10, 10, 3)))
    with pytest.raises(UserError, match="no such file"):
        list(predictor.batch([*files, "no such.png"]))
    *good, bad, last = predictor.batch([*files, "no such.png", files[0]], bad="yield")
    assert [*good, last] == [*one_by_one, one_by_one[0]] and str(bad).startswith("no such.png: no such file")


def test_no_level_depends_on_its_neighbours(predictor, files, monkeypatch):
    """To the last bit: a batch is filled up where images are short."""
    monkeypatch.setattr(predictor, "batch_size", 4)
    one_by_one = [predictor(file).levels for file in files]
    assert [prediction.levels for prediction in predictor.batch(files * 2)] == one_by_one * 2


def test_levels_are_the_same_in_any_part_of_a_run(predictor, monkeypatch):
    """Where the place in a batch shows in the levels, as it does in the last digit on some processors."""
    monkeypatch.setattr(predictor, "batch_size", 4)
    monkeypatch.setattr(predictor, "config", dataclasses.replace(predictor.config, resize_mode="tiles"))
    batches = []

    def qps(arrays):
        batches.append(arrays)
        return arrays.mean((1, 2, 3))[:, None] + 10 * np.arange(len(arrays))[:, None]

    monkeypatch.setattr(predictor, "_qps", qps)

    def images(tiles, bad=()):
        for number, count in enumerate(tiles):
            regions = [resize_modes.Region(tile, 0, 640, 360) for tile in range(count)]
            arrays = (np.full((1, 1, 3), number + tile / 8, "float32") for tile in range(count))
            image = resize_modes.PreparedImage((360, 640), regions, arrays, number=number)
            yield number, UserError("bad") if number in bad else image

    tiles = [1, 9, 1, 4, 2, 1, 1, 12, 3, 1, 1, 1, 1, 5]
    whole = dict(predictor.stream(images(tiles)))
    assert list(whole) == list(range(len(tiles)))
    assert [len(prediction.tiles) for prediction in whole.values()] == tiles
    for start, end in ((0, 5), (5, 6), (5, 14), (7, 8), (11, 13)):
        part = dict(predictor.stream(itertools.islice(images(tiles), start, end)))
        assert part == {number: whole[number] for number in range(start, end)}
    rest = dict(predictor.stream(images(tiles, bad=(1, 8))))
    assert {number for number in rest if rest[number] != whole[number]} == {1, 8}
    for count, full in ((1, 2), (2, 4), (3, 6), (9, 18)):  # images of one size leave no place free
        batches.clear()
        assert len(list(predictor.stream(images([count] * 8)))) == 8 and len(batches) == full


def test_what_8_bits_cannot_show_is_warned_of(predictor):
    image = resize_modes.prepare_image(data.coffee()[:338, :600], predictor.spec.input)
    images = [(None, image._replace(format_warning="10 bits seen as 8"))]
    assert [prediction.warning for _, prediction in predictor.stream(images)] == ["10 bits seen as 8"]


def test_a_predictor_may_be_shared_by_threads(small_predictor, files, monkeypatch):
    predictor = small_predictor
    expected, inside = [predictor(file).levels for file in files], threading.Semaphore(1)

    def one_at_a_time(compute, arrays):
        assert inside.acquire(blocking=False)
        time.sleep(0.01)
        try:
            return compute(arrays)
        finally:
            inside.release()

    monkeypatch.setattr(predictor, "_networks", [functools.partial(one_at_a_time, predictor._networks[0])])
    with ThreadPoolExecutor(6) as pool:
        predictions = pool.map(predictor, files * 4)
        assert [prediction.levels for prediction in predictions] == expected * 4


@pytest.mark.parametrize(
    "size", [(1080, 1920), (360, 640), (4000, 6000), (720, 1200), (100, 3000), (3000, 100), (1, 1)]
)
def test_tiles_cover_every_pixel(size):
    seen = np.zeros(size, bool)
    views = resize_modes.choose_regions(size, (640, 360), "tiles")
    for view in views:
        assert view.of(seen).shape == (view.height, view.width)  # none reaches outside
        view.of(seen)[:] = True
    assert seen.all() and (len(views) == 9 or size != (1080, 1920))


def test_load_says_what_there_is(weight_files):
    for how, message in (
        (("lat",), "no model 'lat'; there are LAT, REC"),
        (("LAT", 4), "level 4: LAT takes None, 1, 2, 3"),
        (("MJ-LAT", 2), "level 2: MJ-LAT takes None"),
    ):
        with pytest.raises(ValueError, match=message):
            load(*how)
    for name in ("resize_mode", "fit"):  # the older name
        with pytest.raises(ValueError, match="resize_mode 'zoom': expected stretch, crop, tiles"):
            load("LAT", **{name: "zoom"})
    for level in (2, "JND2"):
        with pytest.raises(UserError, match="expected LAT's weights, LATJND2.h5"):
            load("LAT", level, weight_files)
