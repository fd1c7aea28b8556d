"""Images in batches, decoded in threads while the network works, a few at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from common.core import device
from common.core.errors import UserError
from common.media.formats import InputFormat
from common.media.images import read_input

Column = Sequence[Path] | np.ndarray
ORIENTATIONS = {"none": 1, "mirror": 2, "flips": 4, "shifts": 2}
"""{what --augment says: how many orientations of an image there are}."""
SHIFT = 16  # pixels: what autoencoders and VGG16 reduce to one value


def orient(image: np.ndarray, orientation: int) -> np.ndarray:
    """An image (H, W, C) as it is (0), mirrored left to right (1), upside down (2), or both (3)."""
    return image[:: -1 if orientation & 2 else 1, :: -1 if orientation & 1 else 1]


class Place(NamedTuple):
    """What an image looks like in an epoch: slices of the patch, then an orientation, then moved as by `shift`."""

    crop: Any
    turn: int
    moved: Sequence[float]


def shift(array: np.ndarray, by: Sequence[float]) -> np.ndarray:
    """Return an image, a map or features (H, W, C), moved by shares of the height and the width.

    What leaves on one side comes in on the other.
    """
    if array.ndim < 3 or not any(by):
        return array
    return np.roll(array, [round(share * side) for share, side in zip(by, array.shape)], (0, 1))


class Batches(keras.utils.PyDataset):
    """Inputs and their targets as batches for `fit`: each float32, (B, ...).

    Args:
        input_format: how an image is decoded.
        inputs: for each input of the network, in order, paths of images, or an array of features with a row an image,
            all images of one orientation after all of another.
        targets: for each output of the network, paths of images, or an array with a row an image.
        shuffle_seed: draw a new order each epoch, the same for the same seed; None keeps the order.
        patch: (height, width) of the patch that is cut at random from each image and its targets, another one in each
            epoch where there is a seed; None takes all.
        augment: a key of ORIENTATIONS: each epoch draws for each image in which of these it comes.  With "shifts", it
            is also moved cyclically by multiples of 16 pixels; features are moved instead of computed again, which
            differs where they see the border.
        epoch: number of the first epoch, on which the order, the patches and the orientations depend.
        shares: into how many equal parts a batch is cut, one a device.  Where images are too few, some come twice, and
            sample weights of 0 leave the doubles out.

    Attributes:
        error: the UserError that reading an image raised; TensorFlow passes on its text only.
    """

    def __init__(
        self,
        input_format: InputFormat,
        inputs: Sequence[Column],
        targets: Sequence[Column],
        batch_size: int,
        *,
        shuffle_seed: int | None = None,
        patch: tuple[int, int] | None = None,
        augment: str = "none",
        epoch: int = 0,
        shares: int = 1,
    ):
        decodes = any(isinstance(column[0], Path) for column in (*inputs, *targets))
        workers, waiting = device.loaders(device.current()) if decodes else (1, 4)
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=waiting)
        self.input_format, self.inputs, self.targets = input_format, inputs, targets
        self.batch_size, self.shuffle_seed, self.patch = batch_size, shuffle_seed, patch
        self.epoch, self.shares, self.error = epoch, shares, None
        self.count, self.augment = len(targets[0]), augment
        self._draw_order()

    def __len__(self):
        return -(-self.count // self.batch_size)

    def __getitem__(self, number):
        try:
            return self._load(number)
        except UserError as error:
            self.error = error
            raise

    def _load(self, number):
        chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        real = len(chosen)
        chosen = np.resize(chosen, -(-real // self.shares) * self.shares)
        places = {index: self._place(index) for index in chosen}

        def images(values):
            def load(index):
                crop, turn, moved = places[index]
                image = values[index]
                image = read_input(image, self.input_format) if isinstance(image, Path) else image
                return shift(orient(image[crop], turn), moved)

            return np.stack([load(index) for index in chosen])

        def features(values):
            rows = np.asarray(values[[places[index].turn * self.count + index for index in chosen]], "float32")
            return np.stack([shift(row, places[index].moved) for row, index in zip(rows, chosen)])

        def targets(values):
            return images(values) if np.ndim(values) == 4 else np.asarray(values, "float32")[chosen]

        def columns(several, read_array):
            several = tuple((images if isinstance(values[0], Path) else read_array)(values) for values in several)
            return several[0] if len(several) == 1 else several

        batch = columns(self.inputs, features), columns(self.targets, targets)
        if self.shares == 1:
            return batch
        # Keras divides by all images, doubles too: with these weights, that gives the mean of the real ones.
        return *batch, np.where(np.arange(len(chosen)) < real, len(chosen) / real, 0).astype("float32")

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._draw_order()

    def _draw_order(self):
        self.order = np.arange(self.count)
        if self.shuffle_seed is not None:
            np.random.default_rng([self.shuffle_seed, self.epoch]).shuffle(self.order)

    def _place(self, index):
        """Draw what an image looks like in this epoch."""
        drawn = [0, 0] if self.shuffle_seed is None else [self.shuffle_seed, self.epoch]
        random = np.random.default_rng([*drawn, int(index)])
        crop, moved, size = slice(None), [0.0, 0.0], self.input_format.shape[:2]
        if self.patch is not None:
            corners = [random.integers(whole - part + 1) for whole, part in zip(size, self.patch)]
            crop = tuple(slice(corner, corner + part) for corner, part in zip(corners, self.patch))
        turn = int(random.integers(ORIENTATIONS[self.augment]))
        if self.augment == "shifts":
            moved = [float(random.integers(side // SHIFT) * SHIFT / side) for side in self.patch or size]
        return Place(crop, turn, moved)
