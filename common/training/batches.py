"""Pictures in batches, decoded in threads while the network works, never more than a few at once."""

from pathlib import Path

import keras
import numpy as np

from common.core import threads
from common.core.errors import UserError

WORKERS = min(threads.CORES, 8)


class Batches(keras.utils.PyDataset):
    """Inputs and their targets as batches for `fit`: each float32, (B, ...).

    input_format: how a picture is decoded, a common.media.images.InputFormat.
    inputs: for each input of the network, in order, paths of pictures, or an array with a row a picture.
    targets: for each output of the network likewise; paths are those of frames, decoded as the pictures are.
    shuffle_seed: draw a new order each epoch, the same for the same seed; None keeps the order.
    patch: (height, width) of the patch that is cut at random from each picture and its target frames, with a seed in
        each epoch another one; None takes all.
    epoch: the first one's number, which the order and the patches depend on.
    shares: into how many equal parts a batch is to be cut, one a device; where pictures are too few, some come twice,
        and sample weights join inputs and targets, which leave the doubles out.

    `error` is the UserError that reading a picture raised, which TensorFlow would bury in one of its own.
    """

    def __init__(self, input_format, inputs, targets, batch_size, *, shuffle_seed=None, patch=None, epoch=0, shares=1):
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
        except UserError as error:  # TensorFlow hands on its text, not itself
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
        """Of a batch with `real` pictures among `filled`, by all of which Keras divides."""
        gain = filled / real  # the batch's mean, and so the gradient, is that of the real ones
        if self.shuffle_seed is None:  # the mean of all pictures is
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
