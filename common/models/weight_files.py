"""Weight files in the layout of the released ones: Keras 2 HDF5, weights only, matched by the order of layers.

Such a file has a group a layer, listed in order in the attribute `layer_names`; each group lists its arrays in
`weight_names`.  Names do not matter when a file is read, order and shapes do.  A file is data of a stranger: no other
file that it refers to is opened, and no array is read before its type and shape are known to be right.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from common.core.errors import UserError
from common.core.files import atomic_write

if TYPE_CHECKING:
    import keras

KERAS_VERSION = b"2.9.0"  # whose layout this is; Keras converts the arrays of files that say 1
LARGEST_PIECE = 2**20  # numbers; HDF5 makes room for a whole piece of an array to read a part of it
STRANGE = "no Keras writes such weight files, and this one is not read; fetch or copy it again, from whom you trust"


def load(model: "keras.Model", path: str | Path, owner: str | None = None) -> None:
    """Give `model` the weights of the file at `path`, after comparing every shape.

    Args:
        owner: The network as messages call it; by default the model's name.

    Raises:
        UserError: The file is damaged, no weight file of this layout, or for another network; the model is untouched.
    """
    owner = owner or model.name
    path = Path(path)
    layers = [layer for layer in model.layers if layer.weights]
    with _open(path) as stored:
        _compare(path, stored, layers, owner)
        arrays = [[dataset[()] for dataset in datasets] for _, datasets in stored]
        names = [name for name, _ in stored]
    with np.errstate(over="ignore"):
        arrays = [[array.astype("float32", copy=False) for array in several] for several in arrays]
    for name, several in zip(names, arrays):
        if not all(np.isfinite(array).all() for array in several):
            raise UserError(f"{path}: layer {name} holds NaN or infinite weights; its training has failed")
    for several, layer in zip(arrays, layers):
        layer.set_weights(several)


def _compare(path: Path, stored: list[tuple[str, list[h5py.Dataset]]], layers: Sequence[Any], owner: str) -> None:
    """Raise UserError where the arrays of a file are not those of `layers`, by type or shape."""
    question = whole_model([(name, arrays) for name, arrays in stored], len(layers))
    question = question or "is this a file for another model, or size of input?"
    for number, ((name, arrays), layer) in enumerate(zip(stored, layers), start=1):
        if not all(array.dtype.kind == "f" for array in arrays):
            raise UserError(f"{path}: layer {name} holds something else than numbers; fetch or copy it again")
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


def whole_model(layers: Sequence[tuple[str, list]], expected: int) -> str:
    """Return what to do, for a person, where a layer of a file that fits no network is a whole model; else "".

    layers: As `layout` gives them.  expected: How many there should be, at least.
    """
    name, arrays = max(layers, key=lambda layer: len(layer[1]), default=("", []))
    if len(layers) >= expected or len(arrays) <= 4:  # BatchNormalization has four, and no layer of these networks more
        return ""
    return (
        f"the group {name} holds all {len(arrays)} arrays of a model that was a layer of another one; load it with "
        f"the Keras that wrote it, and save that layer alone: model.get_layer({name!r}).save_weights(FILE.h5)"
    )


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
    with _open(Path(path)) as stored:
        return [(name, [dataset.shape for dataset in datasets]) for name, datasets in stored]


def note(path: str | Path) -> str:
    """Return the note that `save` put into a file; raise OSError or KeyError where there is none."""
    with h5py.File(path, "r") as file:
        return str(file.attrs["training"])


@contextlib.contextmanager
def _open(path: Path) -> Iterator[list[tuple[str, list[h5py.Dataset]]]]:
    """Give the block the layers with weights, in order: (name, datasets, of which nothing was read)."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not h5py.is_hdf5(path):
        raise UserError(f"{path}: not an HDF5 file ({path.stat().st_size} bytes); expected a Keras weight file (.h5)")
    try:
        with h5py.File(path, "r") as file:
            _refuse_links(path, file)
            # A whole model saved by Keras 2 keeps its weights in a group of their own.
            root: Any = file.get("model_weights", file)
            again = "load it with the Keras that wrote it and write it with common.models.weight_files.save"
            if "layer_names0" in root.attrs:
                raise UserError(
                    f"{path}: its list of layers is split into layer_names0, layer_names1 ..., as Keras does above "
                    f"64 KB, which no released file has; is this a file for another model? Else {again}"
                )
            if "layer_names" not in root.attrs:
                problem = "not in the Keras 2 layout of the released weights (no layer_names)"
                raise UserError(f"{path}: HDF5, but {problem}; {again}")
            layers = []
            for name in map(_text, root.attrs["layer_names"]):
                if "weight_names0" in root[name].attrs:
                    raise UserError(
                        f"{path}: the list of the arrays of {name} is split into weight_names0 ..., as Keras does "
                        f"above 64 KB: a whole model in one layer; {again}"
                    )
                layers.append((name, [root[name][_text(key)] for key in root[name].attrs["weight_names"]]))
                for dataset in layers[-1][1]:
                    if dataset.external or dataset.is_virtual:
                        raise UserError(f"{path}: {dataset.name} lies in another file; {STRANGE}")
                    if dataset.chunks and np.prod(dataset.chunks) > max(dataset.size or 0, LARGEST_PIECE):
                        raise UserError(f"{path}: {dataset.name} is stored in pieces larger than itself; {STRANGE}")
            yield [(name, datasets) for name, datasets in layers if datasets]
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); fetch or copy it again") from None


def _refuse_links(path: Path, file: h5py.File) -> None:
    """Raise UserError where anything in a file is a link to another file."""
    name = file.visititems_links(lambda name, link: name if isinstance(link, h5py.ExternalLink) else None)
    if name is not None:
        raise UserError(f"{path}: /{name} is a link to another file; {STRANGE}")


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
