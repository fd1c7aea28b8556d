"""Weight files: what is in one, into a network and out of it, matched by the order of the layers.

The released layout is Keras 2 HDF5, weights only.  Such a file has a group a layer, listed in order in the attribute
`layer_names`; each group lists its arrays in `weight_names`.  Names do not matter when a file is read, order and shapes
do.  A file is data of a stranger: no other file that it refers to is opened, and no array is read before its type and
shape are known to be right.

A safetensors file has the tensors LAYER/WEIGHT, and as metadata ABOUT, a JSON object: FIELDS, and the `order` of the
tensors.  HDF5 files have the same object, without the order, as an attribute where `common.weights convert` wrote them.
"""

import collections
import contextlib
import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
import safetensors
import safetensors.numpy

from common.core.errors import UserError
from common.core.files import atomic_write

if TYPE_CHECKING:
    import keras

SAFETENSORS, KERAS_SUFFIX = ".safetensors", ".weights.h5"
KERAS_VERSION = b"2.9.0"  # whose layout the released one is; Keras converts the arrays of files that say 1
DAMAGE = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError, safetensors.SafetensorError)
LARGEST_PIECE = 2**20  # numbers; HDF5 makes room for a whole piece of an array to read a part of it
ABOUT, NOTE = "weights", "training"
FIELDS = {"model": str, "level": (str, type(None)), "input_size": list, "file": str, "license": str, "sha256": str}
"""What a file says of its weights: the model; its level, "JND1" to "JND3", or null where one file has all levels or
none; height and width of the input; the name of such a file as released; the licence; `digest`."""
STRANGE = "no Keras writes such weight files, and this one is not read; fetch or copy it again, from whom you trust"


class Array(NamedTuple):
    """An array in an opened file, which `read` reads."""

    shape: tuple[int, ...]
    is_float: bool
    read: Callable[[], np.ndarray]


Layers = Sequence[tuple[str, Sequence[Array]]]


@dataclass(frozen=True)
class WeightFile:
    """What is known of a weight file without reading an array."""

    path: Path
    shapes: list[tuple[str, list[tuple[int, ...]]]]  # of each layer with weights, in order
    about: dict[str, Any]  # what it says of its weights, FIELDS; {} of an HDF5 file that says nothing
    note: str  # what `save` was told of their training
    is_keras: bool  # whether it has Keras's own layout; all `shapes` are then those of one layer


def inspect(path: str | Path, *, any_layout: bool = False) -> WeightFile:
    """Return what is in a weight file.

    any_layout: Whether Keras's own layout is expected too.  Raises UserError where the file is damaged, in another
    layout, or is a safetensors file that does not say what it is.
    """
    path = Path(path)
    with _opened(path) as file:
        about, is_hdf5 = _read_about(path, file), isinstance(file, h5py.File)
        is_keras = any_layout and is_hdf5 and "layers" in file and "layer_names" not in file.attrs
        layers = [("layers", _all_arrays(path, file))] if is_keras else _read_layers(path, file)
        shapes = [(name, [array.shape for array in arrays]) for name, arrays in layers]
        return WeightFile(path, shapes, about, str((file.attrs if is_hdf5 else about).get(NOTE, "")), is_keras)


def _all_arrays(path: Path, file: h5py.File) -> list[Array]:
    datasets: list[h5py.Dataset] = []
    file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
    return [_array(path, dataset) for dataset in datasets]


def load(model: "keras.Model", path: str | Path, owner: str | None = None) -> None:
    """Give `model` the weights of the file at `path`, after comparing every shape.

    Args:
        owner: The network as messages call it; by default the model's name.

    Raises:
        UserError: The file is damaged, no weight file of this layout, or for another network; the model is untouched.
    """
    path, layers = Path(path), [layer for layer in model.layers if layer.weights]
    with _opened(path) as file:
        stored, about = _read_layers(path, file), _read_about(path, file)
        _compare(path, stored, layers, owner or model.name)
        with np.errstate(over="ignore"):
            loaded = [(name, [one.read().astype("float32", copy=False) for one in arrays]) for name, arrays in stored]
    check_numbers(path, loaded, about)
    for (_, arrays), layer in zip(loaded, layers):
        layer.set_weights(arrays)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Give the block an opened file, h5py's or safetensors'; what is wrong with it becomes a UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    is_hdf5 = h5py.is_hdf5(path)
    if not is_hdf5 and path.suffix != SAFETENSORS:
        raise UserError(f"{path}: not an HDF5 file ({path.stat().st_size} bytes); expected a Keras weight file (.h5)")
    try:
        with h5py.File(path, "r") if is_hdf5 else safetensors.safe_open(path, "numpy") as file:
            if isinstance(file, h5py.File):
                if name := file.visititems_links(_external):
                    raise UserError(f"{path}: /{name} is a link to another file; {STRANGE}")
            yield file
    except DAMAGE as error:
        raise UserError(f"{path}: damaged or cut off ({error}); fetch or copy it again") from None


def _external(name: str, link: Any) -> str | None:
    return name if isinstance(link, h5py.ExternalLink) else None


def _array(path: Path, dataset: h5py.Dataset) -> Array:
    """Return a dataset as an Array; raise UserError where it is stored as Keras stores none."""
    if dataset.external or dataset.is_virtual:
        raise UserError(f"{path}: {dataset.name} lies in another file; {STRANGE}")
    if dataset.chunks and np.prod(dataset.chunks) > max(dataset.size or 0, LARGEST_PIECE):
        raise UserError(f"{path}: {dataset.name} is stored in pieces larger than itself; {STRANGE}")
    return Array(dataset.shape, dataset.dtype.kind == "f", functools.partial(dataset.__getitem__, ()))


def _read_about(path: Path, file: Any) -> dict[str, Any]:
    """Return what an opened file says of its weights, FIELDS and perhaps NOTE; {} of HDF5 that says nothing."""
    is_hdf5 = isinstance(file, h5py.File)
    text: Any = (file.attrs if is_hdf5 else file.metadata() or {}).get(ABOUT)
    if is_hdf5 and text is None:
        return {}
    try:
        about = json.loads(text or "")
        if not all(isinstance(about[field], kind) for field, kind in FIELDS.items()):
            raise ValueError
        height, width = map(int, about["input_size"])
    except (LookupError, TypeError, ValueError):
        wrote = "a file that `python3 -m common.weights convert` wrote"
        raise UserError(f"{path}: does not say which model it is; expected {wrote}") from None
    return {**about, "input_size": (height, width)}


def _read_layers(path: Path, file: Any) -> Layers:
    """Return the layers with weights of an opened file, in order; no array is read."""
    layers = _hdf5_layers(path, file) if isinstance(file, h5py.File) else _tensor_layers(path, file)
    return [(name, arrays) for name, arrays in layers if arrays]


def _tensor_layers(path: Path, file: Any) -> Layers:
    order = _read_about(path, file)["order"]
    listed, present = collections.Counter(order), collections.Counter(file.keys())
    for names, problem in ((listed - present, "missing"), (present - listed, "one too many")):
        if names:
            raise UserError(f"{path}: the tensor {min(names)} is {problem}; convert or copy the weights again")
    layers = collections.defaultdict(list)
    for name in order:
        part = file.get_slice(name)
        if (kind := part.get_dtype()) != "F32":
            raise UserError(f"{path}: {name} holds {kind}, expected F32 (float32); convert the weights again")
        array = Array(tuple(part.get_shape()), True, functools.partial(file.get_tensor, name))
        layers[name.rpartition("/")[0]].append(array)
    return list(layers.items())


def _hdf5_layers(path: Path, file: h5py.File) -> Layers:
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
        raise UserError(f"{path}: HDF5, but {problem}; python3 -m common.weights convert reads Keras's own")
    layers = []
    for name in map(os.fsdecode, root.attrs["layer_names"]):
        if "weight_names0" in root[name].attrs:
            raise UserError(
                f"{path}: the list of the arrays of {name} is split into weight_names0 ..., as Keras does "
                f"above 64 KB: a whole model in one layer; {again}"
            )
        names = map(os.fsdecode, root[name].attrs["weight_names"])
        arrays = [_array(path, root[name][key]) for key in names]
        if not all(array.is_float for array in arrays):
            raise UserError(f"{path}: layer {name} holds something else than numbers; fetch or copy it again")
        layers.append((name, arrays))
    return layers


def _compare(path: Path, stored: Layers, layers: Sequence[Any], owner: str) -> None:
    """Raise UserError where the arrays of a file are not those of `layers`, by shape."""
    question = whole_model(stored, len(layers)) or "is this a file for another model, or another --input_size?"
    for number, ((name, arrays), layer) in enumerate(zip(stored, layers), start=1):
        holds = [array.shape for array in arrays]
        expects = [tuple(weight.shape) for weight in layer.weights]
        for held, expected in itertools.zip_longest(holds, expects, fillvalue="nothing"):
            if held != expected:
                where = f"layer {number} of {len(stored)} ({name})"
                raise UserError(f"{path}: {where} holds {held}, {owner} expects {expected} ({layer.name}); {question}")
    if len(stored) != len(layers):
        counts = f"holds {len(stored)} layers with weights, {owner} expects {len(layers)}"
        raise UserError(f"{path}: {counts}; {question}")


def whole_model(layers: Sequence[tuple[str, Sequence]], expected: int) -> str:
    """Return what to do, for a person, where a layer of a file that fits no network is a whole model; else "".

    layers: (name, arrays or their shapes) of each.  expected: How many there should be, at least.
    """
    name, arrays = max(layers, key=lambda layer: len(layer[1]), default=("", []))
    if len(layers) >= expected or len(arrays) <= 4:  # BatchNormalization has four, and no layer of these networks more
        return ""
    return (
        f"the group {name} holds all {len(arrays)} arrays of a model that was a layer of another one; load it with "
        f"the Keras that wrote it, and save that layer alone: model.get_layer({name!r}).save_weights(FILE.h5)"
    )


def check_numbers(path: Path, layers: Iterable[tuple[str, list[np.ndarray]]], about: Mapping[str, Any]) -> None:
    """Raise UserError where the arrays of a file, (layer, arrays), are no numbers, or not those it says."""
    layers = list(layers)
    for name, arrays in layers:
        if not all(np.isfinite(array).all() for array in arrays):
            raise UserError(f"{path}: layer {name} holds NaN or infinite weights; its training has failed")
    if about and digest(itertools.chain.from_iterable(arrays for _, arrays in layers)) != about["sha256"]:
        raise UserError(f"{path}: damaged: its numbers are not those of its SHA-256; convert or copy it again")


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
            names = [f"{layer.name}/{weight.name}" for layer in model.layers for weight in layer.weights]
            # One key: of several, safetensors writes any first, and the same weights would be another file each time.
            metadata = {ABOUT: json.dumps({**about, **({NOTE: note} if note else {}), "order": names})}
            tensors = dict(zip(names, weights_of(model), strict=True))
            temporary.write_bytes(safetensors.numpy.save(tensors, metadata))  # by save_file, nobody else might read it
            return
        if is_keras:
            model.save_weights(temporary)
        with h5py.File(temporary, "r+" if is_keras else "w") as file:
            if note:
                file.attrs[NOTE] = note
            if about:
                file.attrs[ABOUT] = json.dumps(about)
            if not is_keras:
                _write_layers(model, file)


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
