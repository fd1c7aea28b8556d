"""What is in a weight file, in whichever layout: opened in one place, described, and listed without reading an array.

The released layout is Keras 2 HDF5, weights only.  Such a file has a group a layer, listed in order in the attribute
`layer_names`; each group lists its arrays in `weight_names`.  Names do not matter when a file is read, order and shapes
do.  A file is data of a stranger: no other file that it refers to is opened, and no array is read before its type and
shape are known to be right.

A safetensors file has the tensors LAYER/WEIGHT, and as metadata ABOUT, a JSON object: FIELDS, and the `order` of the
tensors.  HDF5 files have the same object, without the order, as an attribute where `common.weights convert` wrote them.
"""

import collections
import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import safetensors

from common.core.errors import UserError

SAFETENSORS, KERAS_SUFFIX = ".safetensors", ".weights.h5"
DAMAGE = (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError)
LARGEST_PIECE = 2**20  # numbers; HDF5 makes room for a whole piece of an array to read a part of it
ABOUT = "weights"
FIELDS = {"model": str, "level": (str, type(None)), "input_size": list, "file": str, "license": str, "sha256": str}
"""What a file says of its weights: the model; its level, "JND1" to "JND3", or null where one file has all levels or
none; height and width of the input; the name of such a file as released; the licence; `weight_files.digest`."""
STRANGE = "no Keras writes such weight files, and this one is not read; fetch or copy it again, from whom you trust"


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """Give the block an opened file, h5py's or safetensors'; what is wrong with it becomes a UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    is_hdf5 = h5py.is_hdf5(path)
    if not is_hdf5 and path.suffix != SAFETENSORS:
        raise UserError(f"{path}: not an HDF5 file ({path.stat().st_size} bytes); expected a Keras weight file (.h5)")
    try:
        with h5py.File(path, "r") if is_hdf5 else safetensors.safe_open(path, "numpy") as file:
            if is_hdf5:
                _refuse_links(path, file)
            yield file
    except (*DAMAGE, safetensors.SafetensorError) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); fetch or copy it again") from None


def read_about(path: Path, file: Any) -> dict[str, Any]:
    """Return what an opened file says of its weights, FIELDS and perhaps `training`; {} of HDF5 that says nothing.

    Raises UserError where a safetensors file says nothing, or a file something else.
    """
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


def read_layers(path: Path, file: Any) -> list[tuple[str, list[Any]]]:
    """Return the layers with weights of an opened file, in order: (name, arrays, of which nothing was read)."""
    layers = _hdf5_layers(path, file) if isinstance(file, h5py.File) else _tensor_layers(path, file)
    return [(name, arrays) for name, arrays in layers if arrays]


class Tensor:
    """A tensor of a safetensors file that is read when it is indexed, as an h5py.Dataset."""

    def __init__(self, path: Path, file: Any, name: str):
        self.file, self.name, part = file, name, file.get_slice(name)
        self.shape, self.dtype = tuple(part.get_shape()), np.dtype("float32")
        if part.get_dtype() != "F32":
            raise UserError(
                f"{path}: {name} holds {part.get_dtype()}, expected F32 (float32); convert the weights again"
            )

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self.file.get_tensor(self.name)[index]


def _tensor_layers(path: Path, file: Any) -> list[tuple[str, list[Tensor]]]:
    order = read_about(path, file)["order"]
    listed, present = collections.Counter(order), collections.Counter(file.keys())
    for names, problem in ((listed - present, "missing"), (present - listed, "one too many")):
        if names:
            raise UserError(f"{path}: the tensor {min(names)} is {problem}; convert or copy the weights again")
    layers = itertools.groupby(order, lambda name: name.rpartition("/")[0])
    return [(layer, [Tensor(path, file, name) for name in names]) for layer, names in layers]


def _hdf5_layers(path: Path, file: h5py.File) -> list[tuple[str, list[h5py.Dataset]]]:
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
    return layers


def _refuse_links(path: Path, file: h5py.File) -> None:
    """Raise UserError where anything in a file is a link to another file."""
    name = file.visititems_links(lambda name, link: name if isinstance(link, h5py.ExternalLink) else None)
    if name is not None:
        raise UserError(f"{path}: /{name} is a link to another file; {STRANGE}")


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
