"""Images in batches, decoded in threads while the network works, a few at once."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from common.core import threads
from common.core.errors import UserError
from common.media.images import InputFormat

WORKERS = min(threads.CORES, 8)


Column = Sequence[Path] | np.ndarray


class Batches(keras.utils.PyDataset):
    """Inputs and their targets as batches for `fit`: each float32, (B, ...).

    Args:
        input_format: how an image is decoded.
        inputs: for each input of the network, in order, paths of images, or an array with a row an image.
        targets: for each output of the network likewise; paths are decoded as those of the inputs.
        shuffle_seed: draw a new order each epoch, the same for the same seed; None keeps the order.
        patch: (height, width) of the patch that is cut at random from each image and its targets, another one in each
            epoch where there is a seed; None takes all.
        epoch: number of the first epoch, on which the order and the patches depend.
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
        epoch: int = 0,
        shares: int = 1,
    ):
        decodes = any(isinstance(column[0], Path) for column in (*inputs, *targets))
        super().__init__(workers=WORKERS if decodes else 1, use_multiprocessing=False, max_queue_size=4)
        self.input_format, self.inputs, self.targets = input_format, inputs, targets
        self.batch_size, self.shuffle_seed, self.patch = batch_size, shuffle_seed, patch
        self.epoch, self.shares, self.error = epoch, shares, None
        self._draw_order()

    def __len__(self):
        return -(-len(self.inputs[0]) // self.batch_size)

    def __getitem__(self, number):
        try:
            return self._load(number)
        except UserError as error:
            self.error = error
            raise

    def _load(self, number):
        chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        real = len(chosen)
        chosen = np.resize(chosen, _filled(real, self.shares))
        crops = {index: self._crop(index) for index in chosen}

        def column(values):
            if isinstance(values[0], Path):
                return np.stack([self.input_format.load(values[index])[crops[index]] for index in chosen])
            return np.asarray(values, "float32")[chosen]

        def columns(several):
            several = tuple(column(values) for values in several)
            return several[0] if len(several) == 1 else several

        batch = columns(self.inputs), columns(self.targets)
        return batch if self.shares == 1 else (*batch, self._sample_weights(real, len(chosen)))

    def _sample_weights(self, real, filled):
        """Of a batch with `real` images among `filled`; Keras divides by the number of all."""
        gain = filled / real  # the mean of this batch, and so its gradient, is then that of the real images
        if self.shuffle_seed is None:  # on valid, the mean of all batches must be that of all images
            *_, last = range(0, len(self.order), self.batch_size)
            gain = (last + _filled(len(self.order) - last, self.shares)) / len(self.order)
        return np.where(np.arange(filled) < real, gain, 0).astype("float32")

    def on_epoch_end(self):
        self.epoch += 1
        self._draw_order()

    def _draw_order(self):
        self.order = np.arange(len(self.inputs[0]))
        if self.shuffle_seed is not None:
            np.random.default_rng([self.shuffle_seed, self.epoch]).shuffle(self.order)

    def _crop(self, index):
        if self.patch is None:
            return slice(None)
        drawn = [0, 0] if self.shuffle_seed is None else [self.shuffle_seed, self.epoch]
        random = np.random.default_rng([*drawn, int(index)])
        corners = [random.integers(whole - part + 1) for whole, part in zip(self.input_format.shape, self.patch)]
        return tuple(slice(corner, corner + part) for corner, part in zip(corners, self.patch))


def _filled(count, shares):
    """The next multiple of `shares`."""
    return -(-count // shares) * shares
