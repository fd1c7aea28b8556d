"""The features of a network's frozen layers, computed once for each image and kept on disk.

The layers are frozen, so the features never change and an epoch only reads them.  A file holds
one tensor of one split, which is memory-mapped, and its checksum behind it, which each training verifies once.  The
name of a file is a digest of all that the features depend on, so that a stale one is never used, and that models which
share frozen layers share the file: MJ-LAT takes what LAT computed for each level.
"""

import contextlib
import hashlib
import itertools
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.core.files import atomic_write, check_disk_space
from common.core.locks import exclusive_lock
from common.core.messages import warn
from common.core.parallel import batch_map
from common.core.threads import prefetch
from common.media.formats import InputFormat
from common.media.images import read_input
from common.models.inference import compute_with
from common.training.batches import orient


def frozen_layers(model: keras.Model) -> set[keras.layers.Layer]:
    """The layers of `model` that give the same for the same image, whatever is trained; inputs among them."""
    frozen = set()
    for layer in model.layers:  # in the order of the data
        parents = {tensor._keras_history.operation for tensor in _inputs(layer)}
        # Variables of a layer that trains change even where none is a weight: moving averages, a Dropout's seed.
        if parents <= frozen and not (layer.trainable and layer.variables):
            frozen.add(layer)
    return frozen


def split(model: keras.Model) -> tuple[keras.Model | None, keras.Model]:
    """(image -> features, features -> outputs), which together are `model`; (None, model) where every layer trains."""
    frozen = frozen_layers(model)
    needed = [tensor for layer in model.layers if layer not in frozen for tensor in _inputs(layer)]
    features = list({id(t): t for t in needed if t._keras_history.operation in frozen}.values())
    if all(isinstance(t._keras_history.operation, keras.layers.InputLayer) for t in features):
        return None, model
    return keras.Model(model.input, features), keras.Model(
        features if len(features) > 1 else features[0], model.outputs
    )


def compute(
    extractor: keras.Model,
    input_format: InputFormat,
    images: Mapping[str, Sequence[Path]],
    digests: dict[str, str],
    folder: Path,
    batch_size: int,
    orientations: Mapping[str, int],
) -> dict[str, list[np.ndarray]]:
    """Compute the features that `folder` does not hold yet.

    Args:
        images, digests: {split: paths}, and {split: `content_digest` of these}.
        orientations: {split: in how many of the orientations of `batches.orient` each image is taken}.

    Returns:
        {split: a read-only memory map (orientations * N, ...) for each output of `extractor`}: all images in their
        first orientation, all in their second, and so on.

    Raises:
        UserError: the disk has not enough room; said before anything is computed.
    """
    # One model each, made anew: one that was made among several devices predicts once for each of them.
    parts: list[Any] = [keras.Model(extractor.input, tensor) for tensor in extractor.outputs]
    networks = [_digest(part, input_format) for part in parts]
    files, wanted = {name: [] for name in images}, {}
    for name, paths in images.items():
        turned = f" in {orientations[name]} orientations" if orientations[name] > 1 else ""
        for part, network in zip(parts, networks):
            key = f"{network} {digests[name]}{turned}".encode()
            files[name].append(folder / f"{hashlib.blake2b(key, digest_size=10).hexdigest()}-0.npy")
            # Parts that are alike, such as two autoencoders with the same weights, share a file.
            wanted[files[name][-1]] = name, part, (orientations[name] * len(paths), *part.output.shape[1:])

    def missing():
        return [file for file, (_, _, shape) in wanted.items() if not _is_whole(file, shape)]

    lacking = missing()
    size = sum(4 * int(np.prod(wanted[file][2])) for file in lacking)
    advice = "name another place by --feature_cache DIR, or compute them in each epoch by --feature_cache off"
    check_disk_space(folder, size, "the features of the frozen layers take", advice)
    # Where nothing is lacking, the folder need not be writable.
    with exclusive_lock(folder / ".lock") if lacking else contextlib.nullcontext():
        lacking = missing() if lacking else []  # another training may have computed them while this one waited
        for name, of_name in itertools.groupby(lacking, lambda file: wanted[file][0]):
            shapes = {file: wanted[file][2] for file in of_name}
            for file in shapes:
                if file.exists():
                    warn(f"warning: {file}: not as it was written; computed again")
            turned = itertools.product(range(orientations[name]), images[name])
            network = keras.Model(extractor.input, [wanted[file][1].output for file in shapes])
            _write(network, input_format, turned, shapes, batch_size, name)
    return {name: [np.load(file, mmap_mode="r") for file in whole] for name, whole in files.items()}


def _is_whole(file, shape):
    """Whether features are there as they were written; what was cut off, changed or replaced is computed again."""
    try:
        features = np.lib.format.open_memmap(file, mode="r")
        with open(file, "rb") as opened:
            opened.seek(features.offset + features.nbytes)
            # CRC-32 runs at some GB a second, which an epoch does not.
            return features.shape == shape and opened.read() == zlib.crc32(features).to_bytes(4, "little")
    except Exception:  # a damaged header makes NumPy raise nearly anything
        return False


def _digest(extractor, input_format):
    """Of all that features depend on, except the images."""
    digest = hashlib.blake2b()
    for part in (repr(input_format), keras.__version__, keras.config.dtype_policy().name):
        digest.update(part.encode())
    for layer in extractor.layers:
        config = {name: value for name, value in layer.get_config().items() if name != "name"}  # may count the builds
        digest.update(f"{type(layer).__name__} {layer.output.shape} {config}".encode())
        for array in layer.get_weights():
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _write(extractor, input_format, turned, shapes, batch_size, name):
    """Write the features of `turned`, pairs (orientation, path), into the files of `shapes`, one an output."""

    def load(pair):
        return orient(read_input(pair[1], input_format), pair[0])

    with contextlib.ExitStack() as stack:
        opened, count = [], next(iter(shapes.values()))[0]
        for file, shape in shapes.items():
            # Not a memory map: on a full disk, writing to one kills the process.
            opened.append(stack.enter_context(open(stack.enter_context(atomic_write(file)), "wb")))
            np.lib.format.write_array_header_1_0(opened[-1], {"descr": "<f4", "fortran_order": False, "shape": shape})
        loaded = stack.enter_context(prefetch(load, turned))
        predicted = batch_map(compute_with(extractor), loaded, batch_size, count, f"features of {name}")
        checksums = [0] * len(opened)
        for arrays, _ in zip(predicted, range(count), strict=True):
            for number, array in enumerate(arrays):
                features = np.asarray(array, "<f4").tobytes()
                opened[number].write(features)
                checksums[number] = zlib.crc32(features, checksums[number])
        for file, checksum in zip(opened, checksums):
            file.write(checksum.to_bytes(4, "little"))


def _inputs(layer):
    return layer.input if isinstance(layer.input, list) else [layer.input]
