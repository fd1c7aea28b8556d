"""Weight files in the layout of the released ones: Keras 2 HDF5, weights only, matched by the order of layers.

Such a file has a group a layer, listed in order in the attribute `layer_names`; each group lists its arrays in
`weight_names`.  Names do not matter when a file is read, order and shapes do.
"""

import re
from pathlib import Path

import h5py
import numpy as np

from common.core.environment import PRETRAINED
from common.core.errors import UserError
from common.core.files import atomic_write
from common.models import weight_files


def find_weights(variant, level, path):
    """{level, None for all at once: weight file}: of the level asked for, or of all that lie at `path`.

    Raises UserError as `common.models.weight_files.find`, and where a file does not tell its level.
    """
    path = Path(path)
    if level or not variant.needs_level:
        level = level if variant.needs_level else None
        return {level: weight_files.find(path, variant.weight_names(level), variant.name)}
    if path.is_file():
        named = re.search("JND([123])", path.name)
        if not named:
            raise UserError(f"{path}: the name does not tell the level; add --jnd_value JND1, JND2 or JND3")
        return {int(named[1]): path}
    there = [n for n in (1, 2, 3) if any(any(path.rglob(name)) for name in variant.weight_names(n))]
    return {n: weight_files.find(path, variant.weight_names(n), variant.name) for n in there or [1]}


def level_names(variant, files):
    """("JND1", ...): the levels that the files of `find_weights` give."""
    return tuple(name for level in files for name in variant.levels(level).values())


KERAS_VERSION = b"2.9.0"  # whose layout this is; Keras converts the arrays of files that say 1


def find(path, names, what):
    """The weight file at `path`: the file itself, or the one called one of `names` in or below the folder `path`.

    what: whose weights these are, for the messages.  Raises UserError when there is none, or more than one, or when the
    file is named for another JND level: the levels' files are alike inside.
    """
    path, wanted = Path(path), f"{what}'s weights, {' or '.join(names)}"
    if path.is_file():
        named, asked = (re.search("JND[123]", name) for name in (path.name, names[0]))
        if named and asked and named[0] != asked[0]:
            raise UserError(
                f"{path}: named for {named[0]}, where {asked[0]} is asked for; name the right one, or rename it"
            )
        return path
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; expected {wanted}, or a folder that holds it")
    found = sorted(match for name in names for match in path.rglob(name) if match.is_file())
    if not found:
        others = sorted({other.name for other in path.rglob("*.h5")})
        if path == PRETRAINED:
            wanted += "; python3 -m common.weights fetch brings the released files"
        seen = f"only {', '.join(others[:6])}{' ...' if len(others) > 6 else ''}" if others else "no .h5 file"
        raise UserError(f"{path}: {seen} in or below this folder; expected {wanted}")
    if len(found) > 1:
        listed = ", ".join(str(match.relative_to(path)) for match in found)
        raise UserError(f"{path}: {len(found)} files here could be {what}'s weights: {listed}; name the one you mean")
    return found[0]


def load(model, path, what=None):
    """Give `model` the weights of the file at `path`, after comparing every shape.

    what: how messages call the network, by default the model's name.  Raises UserError, with the model untouched, when
    the file is damaged, no weight file of this layout, or for another network.
    """
    what = what or model.name
    path = Path(path)
    stored = _read(path, lambda dataset: dataset[()])
    for name, arrays in stored:
        if not all(array.dtype.kind == "f" for array in arrays):
            raise UserError(f"{path}: layer {name} holds something else than numbers; fetch or copy it again")
        if not all(np.isfinite(array).all() for array in arrays):
            raise UserError(f"{path}: layer {name} holds NaN or infinite weights; its training has failed")
    layers = _weighted(model)
    for number, ((stored_name, arrays), layer) in enumerate(zip(stored, layers), start=1):
        holds = [array.shape for array in arrays]
        expects = [tuple(weight.shape) for weight in layer.weights]
        if holds != expects:
            pairs = zip([*holds, "nothing"], [*expects, "nothing"])
            held, expected = next(pair for pair in pairs if pair[0] != pair[1])
            raise UserError(
                f"{path}: layer {number} of {len(stored)} ({stored_name}) holds {held}, {what} expects {expected} "
                f"({layer.name}); is this a file for another model, or size of input?"
            )
    if len(stored) != len(layers):
        counts = f"holds {len(stored)} layers with weights, {what} expects {len(layers)}"
        raise UserError(f"{path}: {counts}; is this a file for another model, or size of input?")
    for (_, arrays), layer in zip(stored, layers):
        layer.set_weights(arrays)


def save(model, path, note=""):
    """Write the weights of `model` to `path` in the released layout, whole or not at all.

    note: how they came about, an attribute that Keras does not read.
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


def layout(path):
    """The layers with weights of the file at `path`, in order: [(name, [shape, ...]), ...]; no array is read.

    Raises UserError when the file is damaged or no weight file of this layout.
    """
    return _read(Path(path), lambda dataset: dataset.shape)


def _weighted(model):
    return [layer for layer in model.layers if layer.weights]


def _read(path, take):
    """The layers of a weight file that have weights, in order: a list of (name, list of what `extract_frames` takes of each)."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    if not h5py.is_hdf5(path):
        raise UserError(f"{path}: not an HDF5 file ({path.stat().st_size} bytes); expected a Keras weight file (.h5)")
    try:
        with h5py.File(path, "r") as file:
            # A whole model saved by Keras 2 keeps its weights in a group of their own.
            root = file.get("model_weights", file)
            if "layer_names" not in root.attrs:
                raise UserError(
                    f"{path}: HDF5, but not in the Keras 2 layout of the released weights (no layer_names); "
                    "load it with the Keras that wrote it and write it with common.models.weight_files.save"
                )
            groups = [(name, root[name]) for name in map(_text, root.attrs["layer_names"])]
            layers = [
                (name, [take(group[_text(key)]) for key in group.attrs["weight_names"]]) for name, group in groups
            ]
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged or cut off ({error}); fetch or copy it again") from None
    return [(name, arrays) for name, arrays in layers if arrays]


def _text(name):
    return name.decode() if isinstance(name, bytes) else str(name)
