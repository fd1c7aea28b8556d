"""--augment: images come mirrored, upside down and moved, and what belongs to them likewise."""

import numpy as np
import pytest
from skimage import io

from common.media.formats import InputFormat
from common.media.images import read_input
from common.training.batches import Batches
from tests import small

FORMAT = InputFormat(width=32, height=16, scale=1)


@pytest.fixture
def files(tmp_path):
    """Paths of three images, and of three frames, each 100 darker than its image."""
    random = np.random.default_rng(0)
    for name in ("image", "frame"):
        (tmp_path / name).mkdir()
    for number in range(3):
        image = random.integers(100, 255, (16, 32, 3)).astype(np.uint8)
        io.imsave(tmp_path / "image" / f"{number}.png", image)
        io.imsave(tmp_path / "frame" / f"{number}.png", image - 100)
    return [sorted((tmp_path / name).glob("*.png")) for name in ("image", "frame")]


def epochs(files, augment, targets, count=20):
    """The images and targets of `count` epochs, in natural order of images."""
    batches = Batches(FORMAT, [files[0]], targets, 3, shuffle_seed=0, augment=augment)
    for _ in range(count):
        images, columns = batches[0]
        order = np.argsort(batches.order)
        yield images[order], [column[order] for column in (columns if isinstance(columns, tuple) else [columns])]
        batches.on_epoch_end()


@pytest.mark.parametrize(("augment", "orientations"), [("none", 1), ("mirror", 2), ("flips", 4)])
def test_images_come_in_all_orientations_and_frames_and_maps_with_them(files, augment, orientations):
    maps = np.random.default_rng(1).uniform(size=(3, 2, 4, 1)).astype("float32")
    labels = np.array([[20.0], [25.0], [30.0]])
    seen = set()
    for images, (frames, turned_maps, qps) in epochs(files, augment, [files[1], maps, labels]):
        np.testing.assert_array_equal(images - frames, 100)
        np.testing.assert_array_equal(qps, labels)
        seen.add(images[0].tobytes())
        original = read_input(files[0][0], FORMAT)
        turned = next(
            (across, down)
            for across in (1, -1)
            for down in (1, -1)
            if np.array_equal(images[0], original[::down, ::across])
        )
        np.testing.assert_array_equal(turned_maps[0], maps[0][:: turned[1], :: turned[0]])
    assert len(seen) == orientations


def test_images_are_moved_and_their_frames_and_maps_with_them(files):
    maps = np.random.default_rng(1).uniform(size=(3, 2, 4, 1)).astype("float32")
    seen, original = set(), read_input(files[0][0], FORMAT)
    for images, (frames, moved_maps) in epochs(files, "shifts", [files[1], maps]):
        np.testing.assert_array_equal(images - frames, 100)
        turn, across = next(
            (turn, across)
            for turn in (1, -1)
            for across in (0, 16)
            if np.array_equal(images[0], np.roll(original[:, ::turn], across, axis=1))
        )
        np.testing.assert_array_equal(moved_maps[0], np.roll(maps[0][:, ::turn], across // 8, axis=1))
        seen.add((turn, across))
    assert len(seen) == 4


def test_kept_features_are_those_of_the_turned_images(rootdir, tmp_path):
    settings = {"epochs": 4, "augment": "flips"}
    kept, computed, plain = (
        small.train(rootdir, tmp_path / name, **more)
        for name, more in (
            ("kept", settings),
            ("computed", settings | {"feature_cache": "off"}),
            ("plain", {"epochs": 4}),
        )
    )
    assert kept.loss == pytest.approx(computed.loss, rel=1e-5)
    assert kept.loss != pytest.approx(plain.loss, rel=1e-3)
    losses = [small.log_of(tmp_path / name)["loss"] for name in ("kept", "computed")]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_resume_with_other_augmentation_is_refused(rootdir, tmp_path):
    small.train(rootdir, tmp_path, epochs=1)
    with pytest.raises(Exception, match="--augment none, not mirror"):
        small.train(rootdir, tmp_path, epochs=2, resume=True, augment="mirror")
