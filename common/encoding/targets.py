"""The names of encoded files: the inputs' own names, in a folder of their own."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path

from common.core.errors import UserError, attempt
from common.encoding.codecs import find_encoder
from common.encoding.containers import choose_container
from common.media.formats import is_clip


def target_of(path: str | Path, codec: str, folder: str | Path) -> Path:
    """Return the file in `folder` that an image or a clip is encoded as: its own name with another suffix.

    The suffix of a clip depends on what holds its streams.  Raises UserError where the codec cannot encode it.
    """
    path, clip = Path(path), is_clip(path)
    encoder = find_encoder(codec, clip)
    return Path(folder, f"{path.stem}{choose_container(path, encoder).suffix if clip else encoder.suffix}")


def targets_of(places: Mapping[Path, Path], codec: str, folder: Path) -> dict[Path, Path | UserError]:
    """Return {path: target} of several inputs, with a UserError in place of a target where one cannot be encoded.

    A target has the input's place in `folder`, with its own suffix.  Where several would be one file, names that differ
    in their suffix keep it: a.png.mp4, a.jpg.mp4.  What is still alike goes into folders that are called as those of
    the inputs, as many as tell them apart: x/a.mp4, y/a.mp4.

    Args:
        places: {path: where it belongs in `folder`, a relative path}, of `common.prediction.inputs.find_places`.

    Raises:
        UserError: Two targets would still be one file, or a target is one of the inputs.
    """
    targets = {path: attempt(target_of, path, codec, Path(folder, place).parent) for path, place in places.items()}
    for target, paths in _alike(targets):
        if len({path.suffix for path in paths}) > 1:
            targets |= {path: target.with_name(f"{path.name}{target.suffix}") for path in paths}
    for target, paths in _alike(targets):
        folders = {path: Path(os.path.abspath(path)).parent.parts[1:] for path in paths}
        for depth in range(1, max(map(len, folders.values())) + 1):
            if len({parts[-depth:] for parts in folders.values()}) == len(paths):
                targets |= {path: Path(folder, *parts[-depth:], target.name) for path, parts in folders.items()}
                break
    owner, inputs = {}, file_ids(places)
    for path, target in targets.items():
        if isinstance(target, UserError):
            continue
        if target in owner:
            raise UserError(f"{path}: would be encoded as {target}, as {owner[target]} is; give folders of their own")
        owner[target] = path
        check_not_input(target, inputs)
    return targets


def _alike(targets: Mapping[Path, Path | UserError]) -> list[tuple[Path, list[Path]]]:
    """Return (target, its inputs) of each target that several inputs have."""
    inputs: dict[Path, list[Path]] = {}
    for path, target in targets.items():
        if isinstance(target, Path):
            inputs.setdefault(target, []).append(path)
    return [(target, paths) for target, paths in inputs.items() if len(paths) > 1]


def file_ids(paths: Collection[str | Path]) -> set:
    """Return what identifies files whatever their names: their real paths, and (device, inode) of those that exist."""
    existing = [os.stat(path) for path in paths if os.path.exists(path)]
    return {os.path.realpath(path) for path in paths} | {(file.st_dev, file.st_ino) for file in existing}


def check_not_input(target: Path, inputs: set) -> None:
    """Raise UserError where `target` is one of the inputs, given by their `file_ids`."""
    if inputs & file_ids([target]):
        raise UserError(f"{target}: this is an input, which would be overwritten; give another folder")
