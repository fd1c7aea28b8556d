"""Weight files in the layout of the released ones: Keras 2 HDF5, weights only, matched by the order of layers.

Such a file has a group a layer, listed in order in the attribute `layer_names`; each group lists its arrays in
`weight_names`.  Names do not matter when a file is read, order and shapes do.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from common.core.environment import PRETRAINED
from common.core.errors import UserError
from common.core.files import atomic_write

if TYPE_CHECKING:
    import keras

    from common.models.registry import ModelSpec

KERAS_VERSION = b"2.9.0"  # whose layout this is; Keras converts the arrays of files that say 1


def find_weights(spec: "ModelSpec", jnd: int | None, path: str | Path) -> dict[int | None, Path]:
    """The weight files of a model: {number of the level, or None for all levels at once: file}.

    Args:
        jnd: the level wanted, 1 to 3; None for all that lie at `path`.
        path: a weight file, or a folder to search.

    Raises:
        UserError: as `find` does, and where a file does not tell its level.
    """
    path = Path(path)
    if jnd or not spec.needs_level:
        jnd = jnd if spec.needs_level else None
        return {jnd: find(path, spec.weight_names(jnd), spec.name)}
    if path.is_file():
        match = re.search("JND([123])", path.name)
        if not match:
            raise UserError(f"{path}: the name does not tell the level; add --jnd_value JND1, JND2 or JND3")
        return {int(match[1]): path}
    present = [n for n in (1, 2, 3) if any(any(path.rglob(name)) for name in spec.weight_names(n))]
    return {n: find(path, spec.weight_names(n), spec.name) for n in present or [1]}


def level_names(spec: "ModelSpec", files: Iterable[int | None]) -> tuple[str, ...]:
    """The levels that the files of `find_weights` predict: ("JND1", ...)."""
    return tuple(name for jnd in files for name in spec.levels(jnd).values())


def find(path: str | Path, names: Sequence[str], owner: str) -> Path:
    """The weight file at `path`: the file itself, or the one that has one of `names` in or below the folder `path`.

    Args:
        owner: whose weights these are, for the messages.

    Raises:
        UserError: when there is none, or more than one, or when the file is named for another JND level: the files of
            the levels are alike inside.
    """
    path, expected = Path(path), f"{owner}'s weights, {' or '.join(names)}"
    if path.is_file():
        own, wanted = (re.search("JND[123]", name) for name in (path.name, names[0]))
        if own and wanted and own[0] != wanted[0]:
            raise UserError(f"{path}: named for {own[0]}, expected {wanted[0]}; give that file, or rename this one")
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; expected {expected}, or a folder that holds it")
    matches = sorted(match for name in names for match in path.rglob(name) if match.is_file())
    if not matches:
        others = sorted({other.name for other in path.rglob("*.h5")})
        if path == PRETRAINED:
            expected += "; python3 -m common.weights fetch downloads the released files"
        present = f"only {', '.join(others[:6])}{' ...' if len(others) > 6 else ''}" if others else "no .h5 file"
        raise UserError(f"{path}: {present} in or below this folder; expected {expected}")
    if len(matches) > 1:
        listed = ", ".join(str(match.relative_to(path)) for match in matches)
        raise UserError(f"{path}: {len(matches)} files here could be {owner}'s weights: {listed}; give one of them")
    return matches[0]


def load(model: "keras.Model", path: str | Path, owner: str | None = None) -> None:
    """Give `model` the weights of the file at `path`, after comparing every shape.

    Args:
        owner: the network as messages call it; by default the model's name.

    Raises:
        UserError: with the model untouched, when the file is damaged, no weight file of this layout, or for another
            network.
    """
    owner = owner or model.name
    path = Path(path)
    stored = _read(path, lambda dataset: dataset[()])
    for name, arrays in stored:
        if not all(array.dtype.kind == "f" for array in arrays):
            raise UserError(f"{path}: layer {name} holds something else than numbers; fetch or copy it again")
        if not all(np.isfinite(array).all() for array in arrays):
            raise UserError(f"{path}: layer {name} holds NaN or infinite weights; its training has failed")
    layers = [layer for layer in model.layers if layer.weights]
    question = "is this a file for another model, or size of input?"
    for number, ((name, arrays), layer) in enumerate(zip(stored, layers), start=1):
        holds = [array.shape for array in arrays]
        expects = [tuple(weight.shape) for weight in layer.weights]
        if holds != expects:
            both = zip([*holds, "nothing"], [*expects, "nothing"])
            held, expected = next((held, expected) for held, expected in both if held != expected)
            where = f"layer {number} of {len(stored)} ({name})"
            raise UserError(f"{path}: {where} holds {held}, {owner} expects {expected} ({layer.name}); {question}")
    if len(stored) != len(layers):
        counts = f"holds {len(stored)} layers with weights, {owner} expects {len(layers)}"
        raise UserError(f"{path}: {counts}; {question}")
    for (_, arrays), layer in zip(stored, layers):
        layer.set_weights(arrays)


def save(model: "keras.Model", path: str | Path, note: str = "") -> None:
    """Write the weights of `model` to `path` in the released layout, whole or not at all.

    Args:
        note: how they came about, kept in an attribute that Keras does not read.
    """
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        if note:
            file.attrs["training"] = note
        file.attrs["layer_names"] = np.array([layer.name.encode() for layer in model.layers])
        file.attrs["backend"] = np.bytes_("tensorflow")
        file.attrs["keras_version"] = np.bytes_(KERAS_VERSION)
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = np.array([name.encode() for name in names], dtype="S")
            for name, array in zip(names, layer.get_weights()):
                group.create_dataset(name, data=array)


def layout(path: str | Path) -> list[tuple[str, list[tuple[int, ...]]]]:
    """The layers with weights of a file, in order: [(name, [shape, ...]), ...]; no array is read.

    Raises:
        UserError: when the file is damaged or no weight file of this layout.
    """
    return _read(Path(path), lambda dataset: dataset.shape)


def _read(path: Path, extract: Callable[[Any], Any]) -> list[tuple[str, list]]:
    """The layers with weights, in order: (name, [what `extract` returns of each dataset])."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not h5py.is_hdf5(path):
        raise UserError(f"{path}: not an HDF5 file ({path.stat().st_size} bytes); expected a Keras weight file (.h5)")
    try:
        with h5py.File(path, "r") as file:
            # A whole model saved by Keras 2 keeps its weights in a group of their own.
            root: Any = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise UserError(
                    f"{path}: HDF5, but not in the Keras 2 layout of the released weights (no layer_names); "
                    "load it with the Keras that wrote it and write it with common.models.weight_files.save"
                )
            groups = [(name, root[name]) for name in map(_text, root.attrs["layer_names"])]
            layers = [
                (name, [extract(group[_text(key)]) for key in group.attrs["weight_names"]]) for name, group in groups
            ]
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); fetch or copy it again") from None
    return [(name, arrays) for name, arrays in layers if arrays]


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
