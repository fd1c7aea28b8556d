"""Weight files in the layout of the released ones: Keras 2 HDF5, weights only, matched by the order of layers.

Such a file has a group a layer, listed in order in the attribute `layer_names`; each group lists its arrays in
`weight_names`.  Names do not matter when a file is read, order and shapes do.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from common.core.errors import UserError
from common.core.files import atomic_write

if TYPE_CHECKING:
    import keras

KERAS_VERSION = b"2.9.0"  # whose layout this is; Keras converts the arrays of files that say 1


def load(model: "keras.Model", path: str | Path, owner: str | None = None) -> None:
    """Give `model` the weights of the file at `path`, after comparing every shape.

    Args:
        owner: The network as messages call it; by default the model's name.

    Raises:
        UserError: The file is damaged, no weight file of this layout, or for another network; the model is untouched.
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

    note: How they came about, kept in an attribute that Keras does not read.
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
    """Return the layers with weights of a file, in order: [(name, [shape, ...]), ...]; no array is read.

    Raises UserError where the file is damaged or no weight file of this layout.
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
