"""A model with its weights as an object that predicts: for pictures, from Python as from the command line.

>>> from common import load
>>> predictor = load("MJ-LAT")                             # weights from pretrained/
>>> predictor("photograph.jpg").levels                     # doctest: +SKIP
{'JND1': 27.3, 'JND2': 31.9, 'JND3': 35.2}
"""

import collections
import os
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from common.core.environment import PRETRAINED
from common.core.errors import UserError
from common.core.keras_backend import load_keras, use_backend
from common.core.threads import prefetch
from common.media.ffmpeg import QP_RANGE
from common.models.registry import ModelSpec, get_model
from common.models.weight_files import find_weights, level_names
from common.prediction import resize_modes
from common.prediction.resize_modes import PreparedImage


class Prediction(NamedTuple):
    """What a model says of one picture.

    levels: {"JND1": QP, ...}, 0 and above, not rounded; where the picture was seen in tiles, the lowest of each level.
    size: (height, width) of the picture.
    seen: what was done to it, for a person: "1920x1080 to 640x352".
    warning: in what it is unlike the pictures that the papers trained on, and what of it was lost; "" for nothing.
    tiles: ((View, levels), ...) where it was seen in tiles, else empty.
    """

    levels: dict[str, float]
    size: tuple[int, int]
    seen: str
    warning: str
    tiles: tuple = ()


class Predictor:
    """Predicts JND levels of pictures; `load` makes one.

    Safe to share among threads: one picture, or batch, is in the network at a time, while others are decoded.
    levels: names of the levels that it knows, ("JND1",) or ("JND1", "JND2", "JND3").
    weights: the files that they come from.
    fit: one of common.prediction.resize_modes.FITS, what of a picture the network sees.
    """

    def __init__(self, variant: ModelSpec, files: dict, *, precision="float32", fit="stretch", batch_size=1):
        """files: {level, 1 to 3, or None for all at once: weight file}.  Keras must have been loaded."""
        from common.models.inference import load_network

        self.variant, self.fit, self.weights, self.batch_size = variant, fit, list(files.values()), batch_size
        self.levels = level_names(variant, files)
        self._networks, self._lock = [], threading.Lock()
        for level, file in files.items():
            self._networks.append(load_network(variant, file, variant.levels(level), precision))

    def __call__(self, picture) -> Prediction:
        """The levels of one picture: a path, or uint8 RGB (H, W, 3).  Raises UserError where it cannot be read."""
        return next(self.stream([(None, self._look(picture))]))[1]

    def batch(self, pictures: Iterable, *, bad: str = "raise") -> Iterator[Prediction | UserError]:
        """The levels of many pictures, in order as they come; they are decoded in threads, a few ahead.

        bad: "raise" a UserError when the turn comes of one that cannot be read; "yield" it, and go on.
        """
        if bad not in ("raise", "yield"):
            raise ValueError(f"bad {bad!r}: expected raise or yield")
        if isinstance(pictures, (str, os.PathLike)):
            raise TypeError(f"several pictures expected, got the one path {pictures}")

        def look(numbered):
            number, picture = numbered
            try:
                return self._look(picture)._replace(number=number)
            except UserError as error:
                return error

        with prefetch(look, enumerate(pictures), resize_modes.AHEAD[self.fit]) as looks:
            for _, prediction in self.stream((None, look) for look in looks):
                if bad == "raise" and isinstance(prediction, UserError):
                    raise prediction
                yield prediction

    def stream(
        self, looks: Iterable[tuple[Any, PreparedImage | Exception]]
    ) -> Iterator[tuple[Any, Prediction | Exception]]:
        """For each (key, PreparedImage) the (key, Prediction), in order; anything else comes back as it is.

        Memory is constant.  The place of an array in a batch moves the seventh digit of its levels, what is beside it
        moves nothing.  So an image's number alone decides the places of its arrays, and its levels are the same to the
        last bit whichever images come with it: in a part of the run, or after others that are bad.
        """
        waiting = collections.deque()  # (key, image, QPs of its arrays so far)
        batch = {}  # {place: (array, QPs of its image)}
        for key, image in looks:
            waiting.append((key, image, qps := []))
            if isinstance(image, PreparedImage):
                first = image.number * len(image.views)
                for place, array in enumerate(image.arrays, first):
                    if place % self.batch_size in batch:
                        self._predict_batch(batch)
                    batch[place % self.batch_size] = array, qps
                    if len(batch) == self.batch_size:
                        self._predict_batch(batch)
            yield from self._finished(waiting)
        self._predict_batch(batch)
        yield from self._finished(waiting)

    def _predict_batch(self, batch):
        """Append to the QPs of each image in the batch, and empty it."""
        if batch:
            # A free place gets any array: for a smaller batch, a network is compiled anew.
            spare, _ = next(iter(batch.values()))
            predicted = self._predict(np.stack([batch.get(place, (spare,))[0] for place in range(self.batch_size)]))
            for place, (_, qps) in batch.items():
                qps.append(predicted[place])
            batch.clear()

    def _finished(self, waiting):
        """Take from the front of `waiting` what is complete."""
        while waiting:
            key, image, qps = waiting[0]
            if isinstance(image, PreparedImage):
                if len(qps) < len(image.views):
                    return
                image = self._prediction(image, qps)
            waiting.popleft()
            yield key, image

    def _look(self, picture):
        return resize_modes.prepare_image(picture, self.variant.input, self.fit)

    def _predict(self, arrays):
        """QP (B, levels) of arrays (B, h, w, 3)."""
        columns = []
        with self._lock:
            for network in self._networks:
                answers = network.predict_on_batch(arrays)
                columns += answers if isinstance(answers, list) else [answers]
        return np.concatenate(columns, axis=1)

    def _prediction(self, look, answers):
        seen = self.variant.input
        levels = [dict(zip(self.levels, map(float, answer))) for answer in answers]
        lowest = dict(zip(self.levels, map(float, np.min(answers, axis=0))))
        warnings = [resize_modes.warning(look.views[0], seen.frame), look.lost]
        if beyond := [f"{name} {level:.0f}" for name, level in lowest.items() if level > QP_RANGE[-1]]:
            warnings.append(f"no QP: {', '.join(beyond)}; are the weights trained, and on QPs?")
        return Prediction(
            lowest,
            look.size,
            resize_modes.seen(look.views, look.size, (seen.width, seen.height)),
            "; ".join(filter(None, warnings)),
            tuple(zip(look.views, levels)) if self.fit == "tiles" else (),
        )


def load(
    model: str | ModelSpec,
    level: int | None = None,
    weights: str | os.PathLike = PRETRAINED,
    *,
    fit: str = "stretch",
    precision: str = "float32",
    backend: str | None = None,
    batch_size: int = 1,
    input_size: tuple[int, int] | None = None,
) -> Predictor:
    """A model with its weights, ready to predict.

    model: as the papers write it: "LAT", "E2E-REC", "MJ-LAT", "MT_1LJND_VA" ...
    level: 1 to 3; None for all three, or as many as have weights there.
    weights: the model's weight file, or a folder that holds it anywhere in or below.
    fit: "stretch" as the papers do; "crop"; "tiles": see common.prediction.resize_modes.
    precision: "float32", or "bfloat16".
    backend: "tensorflow", "openvino", "jax" or "torch"; by default $KERAS_BACKEND.  One for the whole process.
    batch_size: pictures that the network sees at once; more than a few gain something on a GPU only.
    input_size: (height, width) that the network was trained for, where that is not the papers'.

    Raises UserError, one line for a person, where weights are missing, damaged or another model's.
    """
    variant = model if isinstance(model, ModelSpec) else get_model(model)
    for name, given, known in (
        ("fit", fit, tuple(resize_modes.RESIZE_MODES)),
        ("precision", precision, ("float32", "bfloat16")),
        ("level", level, (None, 1, 2, 3) if variant.needs_level else (None,)),
    ):
        if given not in known:
            raise ValueError(f"{name} {given!r}: {variant.name} takes {', '.join(map(str, known))}")
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size}: expected at least 1")
    if input_size:
        variant = variant.resized(*input_size)
    files = find_weights(variant, level, weights)
    if backend:
        use_backend(backend)
    load_keras()
    return Predictor(variant, files, precision=precision, fit=fit, batch_size=batch_size)


def predict_files(looks, model):
    """Yield (path, rows) for each file of `common.prediction.inputs.prepare_inputs`, or (path, the UserError that says what is wrong).

    A row is a dict: path, of clips frame and seconds, width and height of the picture, its levels in QP, what the
    network has seen of it, and in what that is unlike its training.  One a picture or frame and, where these are seen
    in tiles, one a tile.
    """
    rows = []
    for (path, frame, seconds), answer in model.stream(looks):
        if not isinstance(answer, Prediction):
            yield path, rows if answer is None else answer
            rows = []
            continue
        height, width = answer.size
        row = {"path": str(path), "frame": frame, "seconds": seconds, "tile": None, "width": width, "height": height}
        row |= {**answer.levels, "seen": answer.seen, "warning": answer.warning}
        rows.append(row)
        rows += [{**row, "tile": str(view), **levels} for view, levels in answer.tiles]
