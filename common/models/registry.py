"""The registry of models: what each is built of, learns and is called in files.

A model is one file: a script beside LAT.py that builds a network and registers a `ModelSpec`.  The command line,
training, `common.load`, `common.evaluate`, the benchmarks and the Dask workers read this one list.
"""

import functools
import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from common.core.environment import PROJECT
from common.core.messages import warn
from common.media.formats import InputFormat

LEVELS = ("JND1", "JND2", "JND3")
PAPER_ORDER = ("LAT", "REC", "E2ELAT", "E2EREC", "MJLAT", "MJREC", "MTJND")  # scripts; those of others follow


@dataclass(frozen=True)
class Output:
    """One output of a network, what it is compared with in training, and by which loss.

    Args:
        name: The layer that gives it.
        target: The kind of ground truth, which `common.training.targets` reads: "label", the QP of a level; "image",
            the input itself; "frame", the image as coded at the level; "attention map".
        level: "JND1" to "JND3", of a label or a frame; None for the level that the model is trained for.
        loss: A name that Keras or `common.models.losses` knows, or a function (true, predicted).
        weight: Its share in the loss.
        metrics: Names or functions likewise.
    """

    name: str
    target: str = "label"
    level: str | None = None
    loss: str | Callable = "mae"
    weight: float = 1.0
    metrics: tuple[str | Callable, ...] = ()


class Backbone(ABC):
    """The networks that a model is built on; see `common.models.backbones`."""

    flag: str  # the command line's flag for their weights
    default: Any  # its value in training
    optional_in_test: bool = False  # whether `test` has the flag too, though the model's own weights are all it needs
    step: int = 1  # height and width of the input are multiples of it

    @abstractmethod
    def help(self) -> str:
        """Say what the flag means."""

    @abstractmethod
    def find(self, weights: Any, level: str | None, owner: str) -> list[Any]:
        """Return the weights of each network, None each for a random start, from what the flag says.

        Args:
            level: "JND1" to "JND3"; None where the weights do not depend on it.
            owner: Whose weights these are, for the messages.

        Raises:
            UserError: Weights are missing.
        """

    @abstractmethod
    def build(self, input_format: InputFormat, weights: list[Any], owner: str) -> list[Any]:
        """Build the networks, Keras models on one input, with the weights of `find`.

        Raises:
            UserError: A file does not fit its network, or cannot be downloaded.
        """


@dataclass(frozen=True)
class ModelSpec:
    """One model, so that nothing else needs to know which one it is.

    Args:
        name: As the papers write it.
        script: The file that registers it, `__file__`.
        build: Makes the Keras model from the backbone's networks, `build(*networks)`; without a backbone from the
            shape of its input, `build((height, width, 3))`.
        outputs: In the order in which the network gives them.
        defaults: Has `epochs`, `batch_size` and `learning_rate`, those of the paper.
        weights: Name of the weight file, `{jnd}` for the number of the level.
        backbone: What it is built on.
        input: Size, colour order and scale of the images that it sees.
        build_auxiliary: Of a built model, the tensors of the last outputs, which exist in training only.
        checkpoint: Name of the file for the best weights, `{level}` for JND1 to JND3 or nothing.
        log: Name of the CSV file of losses, likewise.
        label: Marks the files beside the checkpoint; by default the level.
        test_batch_size: Images that `test` predicts at once; more than a few cost memory and gain nothing on a CPU.
        start_files: Released names of other files that its training can start from, besides its own of any level.
        level_by_column: Whether the level can be given by `--jnd_column` too, as the released MTJND programs do.
    """

    name: str
    script: str
    build: Callable[..., Any]
    outputs: tuple[Output, ...]
    defaults: Any
    weights: str
    input: InputFormat
    backbone: Backbone | None = None
    build_auxiliary: Callable[[Any], list[Any]] | None = None
    checkpoint: str = "BestModel{level}.h5"
    log: str = "logs{level}.csv"
    label: str | None = None
    test_batch_size: int = 2
    start_files: tuple[str, ...] = ()
    level_by_column: bool = False

    @property
    def needs_level(self) -> bool:
        """Whether a level must be chosen; else the model predicts all that it knows at once."""
        return any(output.level is None and output.target in ("label", "frame") for output in self.outputs)

    @property
    def is_one_of_several(self) -> bool:
        """Whether its script holds other models too, among which `--head` chooses."""
        return sum(spec.script == self.script for spec in _MODELS.values()) > 1

    def at(self, level: str | None) -> tuple[Output, ...]:
        """Return the outputs of the model for one level, "JND1" to "JND3", or for all at once."""
        return tuple(replace(output, level=output.level or level) for output in self.outputs)

    def levels(self, level: str | None) -> dict[str, str]:
        """Return {name of the output: level} of the outputs that predict levels, of the model for `level`."""
        return {output.name: output.level or "" for output in self.at(level) if output.target == "label"}

    def resized(self, height: int, width: int) -> "ModelSpec":
        """Return the same model for images of another size; raise ValueError where its layers cannot take it."""
        step = self.backbone.step if self.backbone else 1
        if height % step or width % step or min(height, width) < 64:
            raise ValueError(f"expected at least 64{f', in multiples of {step}' if step > 1 else ''}")
        return replace(self, input=replace(self.input, height=height, width=width, frame=(width, height)))

    def flags(self, level: str | None) -> list[str]:
        """Return the flags by which the command line of its script chooses it, and a level."""
        return [*(["--head", self.name] if self.is_one_of_several else []), *(["--jnd_value", level] if level else [])]

    def marked(self, level: str | None) -> str:
        """Return what names of files have for the level: "JND1", or nothing where all levels are in one file."""
        if self.label is not None:
            return self.label
        return level or "" if self.needs_level else ""

    def released_name(self, level: str | None) -> str:
        """Return the name of the weight file of a level, as released."""
        return self.weights.format(jnd=(level or "")[-1:])

    def weight_names(self, level: str | None) -> tuple[str, str]:
        """Return the names of the weight file of a level: as released, and as `train` writes it."""
        return self.released_name(level), self.checkpoint_name(level)

    def checkpoint_name(self, level: str | None) -> str:
        """Return the name of the file for the best weights of a training."""
        return self.checkpoint.format(level=self.marked(level))

    def log_name(self, level: str | None) -> str:
        """Return the name of the CSV file of a training's losses."""
        return self.log.format(level=self.marked(level))

    def result_name(self, level: str | None) -> str:
        """Return the name of the CSV file that `test` writes."""
        return f"{self.marked(level)}test_results.csv"


_MODELS: dict[str, ModelSpec] = {}


def register(spec: ModelSpec) -> ModelSpec:
    """Add a model to the registry and return it; raise ValueError where another file has one of that name."""
    known = _MODELS.setdefault(spec.name, spec)
    if Path(known.script).resolve() != Path(spec.script).resolve():
        raise ValueError(f"{spec.script} and {known.script} both register a model {spec.name}; rename one of them")
    if missing := [name for name in ("epochs", "batch_size", "learning_rate") if not hasattr(spec.defaults, name)]:
        raise ValueError(f"{spec.name}: its defaults have no {', '.join(missing)}")
    return known


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the registered models, those of the papers first; `pattern` as "MJ-*" chooses some."""
    _import_scripts()
    order = {script: index for index, script in enumerate(PAPER_ORDER)}
    names = sorted(_MODELS, key=lambda name: order.get(Path(_MODELS[name].script).stem, len(order)))
    return [name for name in names if fnmatchcase(name, pattern)]


def get_model(name: str) -> ModelSpec:
    """Return the model called `name`; raise ValueError where there is none."""
    if name not in _MODELS and name not in list_models():
        raise ValueError(f"no model {name!r}; there are {', '.join(list_models())}")
    return _MODELS[name]


@functools.cache
def _import_scripts() -> None:
    """Import the scripts that register models; one that cannot be imported is named and left out."""
    for file in sorted(PROJECT.glob("*.py")):
        if re.search(r"\bcommon\.models\b.*\bregister\(", file.read_text("utf-8"), re.DOTALL):
            try:
                importlib.import_module(file.stem)
            except Exception as error:  # somebody's draft
                warn(f"warning: {file.name}: its models are left out ({error})")
