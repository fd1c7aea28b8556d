"""What a person gives to predict: pictures, clips, folders, patterns, a list; and the pictures in it, in order."""

import glob
import itertools
import sys
from pathlib import Path

from common.clips import CLIP_SUFFIXES, take
from common.dataset import natural_key
from common.errors import UserError
from common.fitting import AHEAD, look
from common.images import PICTURE_SUFFIXES, read_ahead


def find_inputs(arguments):
    """Paths of files, each once, in the order given; what is in folders, at any depth, in natural order.

    arguments: files; folders; patterns such as "*/*.png" or "**/*.png"; "-", a list on standard input, a line each.
    A name that is nothing of that comes back as it is, for the reader to complain about.
    """
    lines = []
    for argument in arguments:
        lines += [line.rstrip("\r\n") for line in sys.stdin] if argument == "-" else [argument]
    files = []
    for line in filter(None, lines):
        path = Path(line)
        matches = [path]
        if not path.exists() and glob.has_magic(line):
            matches = sorted(map(Path, glob.glob(line, recursive=True)), key=_key) or [path]
        for match in matches:
            files += _below(match) if match.is_dir() else [match]
    return list(dict.fromkeys(files))


def _below(folder):
    files = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES | CLIP_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    ]
    return sorted(files, key=_key)


def _key(path):
    return natural_key(str(path))


def is_clip(path):
    """Whether a file is a clip, by its suffix; what is none is taken for a picture."""
    return path.suffix.lower() in CLIP_SUFFIXES


def looks(paths, seen, fit, frames):
    """Yield ((path, frame, seconds), Look) for each picture and each chosen frame of a clip, ahead of who takes them.

    seen, fit: as common.fitting.look.  frames: which of a clip, as common.clips.take; frame and seconds are None for a
    picture.  After the last of each file comes ((path, None, None), None), or a UserError in place of the None: what is
    wrong with one file does not stop the others.
    """

    def load(path):
        try:
            return path, look(path, seen, fit)
        except UserError as error:
            return path, error

    for clips, group in itertools.groupby(paths, is_clip):
        if clips:
            for path in group:
                yield from _clip_looks(path, seen, fit, frames)
            continue
        with read_ahead(load, group, AHEAD[fit]) as loaded:
            for path, result in loaded:
                wrong = isinstance(result, UserError)
                if not wrong:
                    yield (path, None, None), result
                yield (path, None, None), result if wrong else None


def _clip_looks(path, seen, fit, frames):
    chosen = take(path, frames)

    def load(_):
        try:
            number, seconds, pixels = next(chosen)
        except StopIteration:
            return (path, None, None), None
        except UserError as error:
            return (path, None, None), error
        return (path, number, seconds), look(pixels, seen, fit)

    with read_ahead(load, itertools.count(), min(AHEAD[fit], 4), workers=1) as loaded:
        for key, result in loaded:
            yield key, result
            if key[1] is None:
                return
