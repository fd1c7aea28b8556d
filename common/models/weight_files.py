"""Weight files, each matched by the order of its layers: in the layout of the released ones, and as safetensors.

The layouts themselves are described in `weight_layouts`, which opens the files.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import safetensors.numpy

from common.core.errors import UserError
from common.core.files import atomic_write
from common.models.weight_layouts import ABOUT, KERAS_SUFFIX, SAFETENSORS, open_file, read_about, read_layers

if TYPE_CHECKING:
    import keras

KERAS_VERSION = b"2.9.0"  # whose layout the released one is; Keras converts the arrays of files that say 1


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
    with open_file(path) as file:
        stored, about = read_layers(path, file), read_about(path, file)
        _compare(path, stored, layers, owner)
        arrays = [[dataset[()] for dataset in datasets] for _, datasets in stored]
        names = [name for name, _ in stored]
    with np.errstate(over="ignore"):
        arrays = [[array.astype("float32", copy=False) for array in several] for several in arrays]
    _check_numbers(path, names, arrays, about)
    for several, layer in zip(arrays, layers):
        layer.set_weights(several)


def _check_numbers(path: Path, names: Iterable[str], arrays: list[list[np.ndarray]], about: Mapping[str, Any]) -> None:
    """Raise UserError where the arrays of a file, a list for each layer, are no numbers, or not those it says."""
    for name, several in zip(names, arrays):
        if not all(np.isfinite(array).all() for array in several):
            raise UserError(f"{path}: layer {name} holds NaN or infinite weights; its training has failed")
    if about and digest(itertools.chain(*arrays)) != about["sha256"]:
        raise UserError(f"{path}: damaged: its numbers are not those of its SHA-256; convert or copy it again")


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


def is_keras(path: Path) -> bool:
    """Return whether a file is in Keras's own layout; raise UserError where it is damaged."""
    with open_file(path) as file:
        return isinstance(file, h5py.File) and "layers" in file and "layer_names" not in file.attrs


def load_keras(model: "keras.Model", path: Path) -> None:
    """Give `model` the weights of a file in Keras's own layout, whose name ends in .weights.h5.

    Raises:
        UserError: The file is damaged or for another network, which may have changed the model.
    """
    with open_file(path) as file:
        arrays: list[h5py.Dataset] = []
        file.visititems(lambda name, item: arrays.append(item) if isinstance(item, h5py.Dataset) else None)
        about, count = read_about(path, file), len(arrays)
        if count != len(model.weights) or {array.dtype for array in arrays} != {np.dtype("float32")}:
            what = f"holds {count} arrays, {model.name} expects {len(model.weights)}, all float32"
            raise UserError(f"{path}: {what}; is this a file for another model?")
        if not path.name.endswith(KERAS_SUFFIX):
            raise UserError(
                f"{path}: in Keras's own layout, which Keras reads by name only; rename it to end in .weights.h5"
            )
        try:
            model.load_weights(path)
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{path}: does not fit {model.name} ({reason}); is this a file for another model?"
            ) from None
    _check_numbers(path, [layer.name for layer in model.layers], [layer.get_weights() for layer in model.layers], about)


def weights_of(model: "keras.Model") -> Iterator[np.ndarray]:
    """Yield the arrays of a model in the order of its layers."""
    return itertools.chain.from_iterable(layer.get_weights() for layer in model.layers)


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Return the SHA-256 of the bytes of arrays, float32, little-endian, in C order, one after the other."""
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(np.ascontiguousarray(array, "<f4").reshape(-1).data)
    return sha256.hexdigest()


def save(model: "keras.Model", path: str | Path, note: str = "", about: Mapping[str, Any] | None = None) -> None:
    """Write the weights of `model` to `path`, whole or not at all.

    The layout is the released one.  Where the file is to say what they are, its name decides: .safetensors; Keras's
    own layout, .weights.h5; the released one.

    Args:
        note: How they came about, kept in an attribute of HDF5 that Keras does not read.
        about: What the file says of them, FIELDS.
    """
    path = Path(path)
    is_keras = bool(about) and path.name.endswith(KERAS_SUFFIX)  # not what a training is told to write
    with atomic_write(path) as temporary:
        if about and path.suffix == SAFETENSORS:
            _write_safetensors(model, temporary, {**about, **({"training": note} if note else {})})
            return
        if is_keras:
            model.save_weights(temporary)
        with h5py.File(temporary, "r+" if is_keras else "w") as file:
            if note:
                file.attrs["training"] = note
            if about:
                file.attrs[ABOUT] = json.dumps(about)
            if not is_keras:
                _write_layers(model, file)


def _write_safetensors(model: "keras.Model", path: Path, about: Mapping[str, Any]) -> None:
    names = [f"{layer.name}/{weight.name}" for layer in model.layers for weight in layer.weights]
    # One key: of several, safetensors writes any first, and the same weights would be another file each time.
    metadata = {ABOUT: json.dumps({**about, "order": names})}
    # By save_file, nobody else might read it.
    path.write_bytes(safetensors.numpy.save(dict(zip(names, weights_of(model), strict=True)), metadata))


def _write_layers(model: "keras.Model", file: h5py.File) -> None:
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
    path = Path(path)
    with open_file(path) as file:
        return [(name, [array.shape for array in arrays]) for name, arrays in read_layers(path, file)]


def note(path: str | Path) -> str:
    """Return the note that `save` put into an HDF5 file, "" where there is none; raise OSError where it is no such."""
    with h5py.File(path, "r") as file:
        return str(file.attrs.get("training", ""))


def describe(path: str | Path) -> dict[str, Any]:
    """Return what a file says of its weights, FIELDS; {} of an HDF5 file that says nothing.

    Raises UserError where the file is damaged, or is a safetensors file that says nothing.
    """
    with open_file(Path(path)) as file:
        return read_about(Path(path), file)
