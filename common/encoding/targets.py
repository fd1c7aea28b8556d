"""The names of encoded files: the inputs' own names, in a folder of their own."""

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from common.core.errors import UserError
from common.encoding.codecs import find_encoder
from common.encoding.containers import choose_container
from common.media.clips import is_clip


def target_of(path: str | Path, codec: str, folder: str | Path) -> Path:
    """Return the file in `folder` that an image or a clip is encoded as: its own name with another suffix.

    The suffix of a clip depends on what holds its streams.  Raises UserError where the codec cannot encode it.
    """
    path, clip = Path(path), is_clip(path)
    encoder = find_encoder(codec, clip)
    return Path(folder, f"{path.stem}{choose_container(path, encoder).suffix if clip else encoder.suffix}")


def targets_of(paths: Collection[Path], codec: str, folder: Path) -> dict[Path, Path | UserError]:
    """Return {path: target} of several inputs, with a UserError in place of a target where one cannot be encoded.

    The targets have the folders in `folder` that the inputs have in the folder that holds them all.  Names that differ
    only in their suffix keep it: a.png.mp4, a.jpg.mp4.

    Raises:
        UserError: Two targets would still be one file, or a target is one of the inputs.
    """
    parents = {path: os.path.dirname(os.path.abspath(path)) for path in paths}
    top = os.path.commonpath(parents.values()) if parents else ""
    targets = {}
    for path in parents:
        try:
            targets[path] = target_of(path, codec, Path(folder, os.path.relpath(parents[path], top)))
        except UserError as error:
            targets[path] = error
    count, owner, inputs = Counter(targets.values()), {}, file_ids(parents)
    for path, target in targets.items():
        if isinstance(target, UserError):
            continue
        if count[target] > 1:
            target = targets[path] = target.with_name(f"{Path(path).name}{target.suffix}")
        if target in owner:
            raise UserError(f"{path}: would be encoded as {target}, as {owner[target]} is; give folders of their own")
        owner[target] = path
        check_not_input(target, inputs)
    return targets


def file_ids(paths: Collection[str | Path]) -> set:
    """Return what identifies files whatever their names: their real paths, and (device, inode) of those that exist."""
    existing = [os.stat(path) for path in paths if os.path.exists(path)]
    return {os.path.realpath(path) for path in paths} | {(file.st_dev, file.st_ino) for file in existing}


def check_not_input(target: Path, inputs: set) -> None:
    """Raise UserError where `target` is one of the inputs, given by their `file_ids`."""
    if inputs & file_ids([target]):
        raise UserError(f"{target}: this is an input, which would be overwritten; give another folder")
