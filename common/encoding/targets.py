"""What the coded files are called: the inputs' own names, in a folder of their own."""

import os
from collections import Counter
from pathlib import Path

from common.core.errors import UserError
from common.encoding import scenes
from common.encoding.codecs import coder
from common.media.clips import is_clip


def target_of(path, codec, folder):
    """The file that a picture or clip is coded as in `folder`: its own name with the suffix of what holds it.

    A clip, by its suffix, is looked at for its sound.  Raises UserError where the codec is not for it.
    """
    path = Path(path)
    if not is_clip(path):
        return Path(folder) / f"{path.stem}{coder(codec, clip=False).suffix}"
    coder(codec, clip=True)
    return Path(folder) / f"{path.stem}{scenes.container(path)}"


def targets_of(paths, codec, folder):
    """{path: target} of several, or the UserError in its place that says why one has none.

    They lie below `folder` as the inputs do below the folder that holds all of them.  Names that differ in their suffix
    only keep it: a.png.mp4, a.jpg.mp4.  Raises UserError where two would still be one file, or one of the inputs.
    """
    above = {path: os.path.dirname(os.path.abspath(path)) for path in paths}
    top = os.path.commonpath(above.values()) if above else ""
    targets = {}
    for path in paths:
        try:
            targets[path] = target_of(path, codec, Path(folder, os.path.relpath(above[path], top)))
        except UserError as error:
            targets[path] = error
    plain, owner, inputs = Counter(targets.values()), {}, identities(paths)
    for path, target in targets.items():
        if isinstance(target, UserError):
            continue
        if plain[target] > 1:
            target = targets[path] = target.with_name(f"{Path(path).name}{target.suffix}")
        if target in owner:
            raise UserError(f"{path}: would be coded as {target}, as {owner[target]} is; give folders of their own")
        owner[target] = path
        refuse(target, inputs)
    return targets


def identities(paths):
    """What files are told by, whatever they are called: names without links, and numbers of those that are there."""
    found = [os.stat(path) for path in paths if os.path.exists(path)]
    return {os.path.realpath(path) for path in paths} | {(file.st_dev, file.st_ino) for file in found}


def refuse(target, inputs):
    """Raise UserError where `target` is one of the inputs, given by their `identities`."""
    if inputs & identities([target]):
        raise UserError(f"{target}: this is an input, which would be overwritten; give another folder")
