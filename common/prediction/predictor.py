"""A model with its weights as an object that predicts: for images, from Python as from the command line.

>>> from common import load
>>> predictor = load("MJ-LAT")                             # weights from pretrained/
>>> predictor("photograph.jpg").levels                     # doctest: +SKIP
{'JND1': 27.3, 'JND2': 31.9, 'JND3': 35.2}
"""

import collections
import html
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.core.environment import PRETRAINED
from common.core.errors import UserError, attempt
from common.core.threads import prefetch
from common.data.levels import HIGHEST_QP
from common.models.registry import LEVELS, ModelSpec, get_model, list_models
from common.models.weight_search import described_model, find_weights, level_names
from common.prediction import networks, resize_modes
from common.prediction.config import PredictorConfig
from common.prediction.inputs import Frame
from common.prediction.resize_modes import PreparedImage, Region

Image = str | os.PathLike | np.ndarray
Batch = dict[int, tuple[np.ndarray, list[np.ndarray]]]  # {place: (array (h, w, 3), list that gets its QPs)}
Result = tuple[Path, list[dict[str, Any]] | UserError]  # a file's path, and its rows or what is wrong with it


class Prediction(NamedTuple):
    """What a model predicts for one image.

    Attributes:
        levels: {"JND1": QP, ...}, 0 and above, not rounded; of an image seen in tiles, the lowest of each level.
        size: (height, width) of the image.
        seen: What the network saw of it, for a person: "1920x1080 to 640x352".
        warning: In what it is unlike the images that the papers trained on, and what of it was lost; "" for nothing.
        tiles: ((Region, levels), ...) of an image seen in tiles, else empty.
    """

    levels: dict[str, float]
    size: tuple[int, int]
    seen: str
    warning: str
    tiles: tuple[tuple[Region, dict[str, float]], ...] = ()

    def _repr_html_(self) -> str:
        """Return it as notebooks show it: the levels, what the network saw, and the warning."""
        rows = "".join(f"<tr><th>{name}</th><td>QP {qp:.2f}</td></tr>" for name, qp in self.levels.items())
        seen = "; ".join(filter(None, (self.seen, self.warning)))
        return f"<table>{rows}<tr><th>seen</th><td>{html.escape(seen)}</td></tr></table>"


class Predictor:
    """Predicts JND levels of images; `load` makes one.

    Threads may share it: one batch is in the network at a time, while others are put together.

    Attributes:
        spec: The model.
        config: How it predicts.
        levels: Names of the levels that it knows, ("JND1",) or ("JND1", "JND2", "JND3").
        weights: The files that they come from.
        batch_size: Images in the network at once.
    """

    def __init__(self, spec: ModelSpec, files: Mapping[str | None, Path], config: PredictorConfig):
        """Build the networks; `networks.start_backend` comes before.  files: of `find_weights`."""
        self.spec, self.config, self.weights = spec, config, list(files.values())
        self.spec = networks.with_input_of(spec, self.weights, config)
        self.levels = level_names(spec, files)
        self._network_thread = ThreadPoolExecutor(1)
        self._networks = [
            networks.open_network(self.spec, level, file, [*spec.levels(level)], config)
            for level, file in files.items()
        ]
        fitting = [network.batch_size(self.spec.test_batch_size) for network in self._networks]
        self.batch_size = config.batch_size or min(fitting)

    def __repr__(self):
        weights, runtime = ", ".join(map(str, self.weights)), networks.packages(self.weights, self.config)[-1]
        return f"<Predictor {self.spec.name}: {', '.join(self.levels)}; weights {weights}; on {runtime}>"

    def __call__(self, image: Image) -> Prediction:
        """Predict the levels of one image, a path or uint8 RGB (H, W, 3); raise UserError where it cannot be read."""
        return next(self.stream([(None, self._prepare(image))]))[1]

    def batch(self, images: Iterable[Image], *, bad: str = "raise") -> Iterator[Prediction | UserError]:
        """Yield the predictions of many images, in order; the images are decoded in threads, a few ahead.

        bad: What happens at an image that cannot be read: "raise" a UserError, or "yield" it and go on.
        """
        if bad not in ("raise", "yield"):
            raise ValueError(f"bad {bad!r}: expected raise or yield")
        if isinstance(images, (str, os.PathLike)):
            raise TypeError(f"several images expected, got the one path {images}")

        def prepare(numbered):
            number, image = numbered
            return None, attempt(self._prepare, image, number)

        with prefetch(prepare, enumerate(images), resize_modes.AHEAD[self.config.resize_mode]) as prepared:
            for _, prediction in self.stream(prepared):
                if bad == "raise" and isinstance(prediction, UserError):
                    raise prediction
                yield prediction

    def stream(self, images: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        """Yield (key, Prediction) for each (key, PreparedImage), in order; anything else comes back as it is.

        Memory does not grow with the number of images.

        The place of an array in its batch may change the seventh digit of its QPs; what else is in the batch changes
        nothing.  An image's number alone decides the places of its arrays, so that its levels are the same to the last
        bit whichever part of a run it comes in, and whichever images of the run are missing or unreadable.
        """
        waiting = collections.deque()  # (key, image, the QPs of its arrays so far)
        batch: Batch = {}
        running: Future | None = None  # the batch before
        for key, image in images:
            qps: list[np.ndarray] = []
            waiting.append((key, image, qps))
            if isinstance(image, PreparedImage):
                for number, array in enumerate(image.arrays, start=image.number * len(image.regions)):
                    place = number % self.batch_size
                    if place in batch:
                        running, batch = self._start(batch, running), {}
                    batch[place] = array, qps
                    if len(batch) == self.batch_size:
                        running, batch = self._start(batch, running), {}
            yield from self._finished(waiting)
        if batch:
            running = self._start(batch, running)
        self._wait(running)
        yield from self._finished(waiting)

    def _start(self, batch: Batch, running: Future | None) -> Future:
        """Start to predict a batch, when the one before has been predicted."""
        self._wait(running)
        return self._network_thread.submit(self._predict_batch, batch)

    def _wait(self, running: Future | None) -> None:
        """Wait for a batch, and raise what went wrong in it."""
        if running:
            running.result()

    def _predict_batch(self, batch: Batch) -> None:
        """Predict the arrays of a batch, and append the QPs to the lists that belong to them."""
        spare = next(iter(batch.values()))  # for the free places: a network is compiled anew for a smaller batch
        qps = self._qps(np.stack([batch.get(place, spare)[0] for place in range(self.batch_size)]))
        for place, (_, of_image) in batch.items():
            of_image.append(qps[place])

    def _qps(self, arrays: np.ndarray) -> np.ndarray:
        """QPs (B, levels) of arrays (B, h, w, 3)."""
        return np.concatenate([output for network in self._networks for output in network(arrays)], axis=1)

    def _finished(self, waiting: collections.deque):
        """Take from `waiting` what is complete, up to the first image that is not."""
        while waiting:
            key, image, qps = waiting[0]
            if isinstance(image, PreparedImage):
                if len(qps) < len(image.regions):
                    return
                image = self._prediction(image, qps)
            waiting.popleft()
            yield key, image

    def _prepare(self, image: Image, number: int = 0) -> PreparedImage:
        return resize_modes.prepare_image(image, self.spec.input, self.config.resize_mode, number)

    def _prediction(self, image: PreparedImage, qps: list[np.ndarray]) -> Prediction:
        """The prediction for an image, of the QPs (levels,) of its regions."""
        levels = [dict(zip(self.levels, map(float, of_region))) for of_region in qps]
        lowest = dict(zip(self.levels, map(float, np.min(qps, axis=0))))
        warnings = [resize_modes.shape_warning(image.regions[0], self.spec.input.frame), image.format_warning]
        if beyond := [f"{name} {qp:.0f}" for name, qp in lowest.items() if qp > HIGHEST_QP]:
            warnings.append(f"no QP: {', '.join(beyond)}; are the weights trained, and on QPs?")
        return Prediction(
            lowest,
            image.size,
            resize_modes.describe_regions(image.regions, image.size, self.spec.input),
            "; ".join(filter(None, warnings)),
            tuple(zip(image.regions, levels)) if self.config.resize_mode == "tiles" else (),
        )


def load(
    model: str | os.PathLike | ModelSpec,
    level: int | str | None = None,
    weights: str | os.PathLike = PRETRAINED,
    *,
    fit: str | None = None,
    **settings: Any,
) -> Predictor:
    """Load a model with its weights, ready to predict.

    Args:
        model: Its name in the papers, "LAT", "E2E-REC", "MJ-LAT", "MT_1LJND_VA" ...; `common.list_models()` has all.
            Or a folder or file that `common.weights convert` wrote, which says its model, level and size of input.
        level: "JND1" to "JND3", or 1 to 3; None for all three, or as many as have weights there.
        weights: The weight file, or a network that `export` wrote, or a folder that holds it anywhere in or below.
        fit: The older name of `resize_mode`.
        **settings: Those of `common.prediction.config.PredictorConfig`: resize_mode, input_size, precision, batch_size,
            tf32, backend.

    Raises:
        UserError: Weights are missing, damaged or another model's; one line for a person.
        ValueError: An argument has a value that the model does not take.
    """
    if isinstance(model, ModelSpec):
        spec = model
    elif str(model) not in list_models() and Path(model).exists():
        if weights != PRETRAINED:
            raise ValueError(f"weights {str(weights)!r}: {model} holds weights already; leave them out")
        spec, weights = described_model(Path(model))
    else:
        spec = get_model(str(model))
    if fit:
        settings["resize_mode"] = fit
    config = PredictorConfig(**settings)
    known = {None: None, **(dict(zip((1, 2, 3, *LEVELS), LEVELS * 2)) if spec.needs_level else {})}
    if level not in known:
        raise ValueError(f"level {level!r}: {spec.name} takes {', '.join(map(str, known))}")
    if config.input_size:
        spec = spec.resized(*config.input_size)
    files = find_weights(spec, known[level], Path(weights))
    networks.start_backend(files.values(), config)
    return Predictor(spec, files, config)


def predict_files(
    images: Iterable[tuple[Frame, PreparedImage | UserError | None]], predictor: Predictor
) -> Generator[Result, None, None]:
    """Yield (path, rows) or (path, UserError) for each file of `common.prediction.inputs.prepare_inputs`.

    A row has the columns of `predict --output` but `by`: one row for an image or frame and, of tiles, one for each.
    """
    rows = []
    for (path, frame, seconds), prediction in predictor.stream(images):
        if not isinstance(prediction, Prediction):  # the end of a file
            yield path, rows if prediction is None else prediction
            rows = []
            continue
        height, width = prediction.size
        row = {"path": str(path), "frame": frame, "seconds": seconds, "tile": None, "width": width, "height": height}
        row |= {**prediction.levels, "seen": prediction.seen, "warning": prediction.warning}
        rows.append(row)
        rows += [{**row, "tile": str(region), **levels} for region, levels in prediction.tiles]
