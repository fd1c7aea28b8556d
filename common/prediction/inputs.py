"""What a person gives to predict: pictures, clips, folders, patterns, a list; and the pictures in it, in order."""

import collections
import functools
import glob
import itertools
import os
import sys
from pathlib import Path

from common.core.errors import UserError
from common.core.names import natural_key
from common.core.threads import prefetch
from common.media.clips import CLIP_SUFFIXES, extract_frames, format_warning, is_clip, probe
from common.media.images import IMAGE_SUFFIXES
from common.prediction.resize_modes import AHEAD, prepare_image

# Pillow reads more than PICTURE_SUFFIXES, which decide what belongs to a dataset.
SUFFIXES = IMAGE_SUFFIXES | CLIP_SUFFIXES | set(".avif .gif .j2k .jfif .jp2 .jpe .pbm .pnm .tga".split())


def find_inputs(arguments, without=None):
    """Paths of files, each once, in the order given; what is in folders, at any depth, in natural order.

    arguments: files; folders; patterns such as "*/*.png" or "**/*.png"; "-", a list on standard input, a line each.
    without: a folder; what folders and patterns would give of it is left out.
    A name that is nothing of that comes back as it is, for the reader to complain about.  Says on stderr what kinds of
    files of folders it leaves out; raises UserError where nothing is left.
    """
    lines, others, without = [], {}, without and os.path.realpath(without)
    for argument in arguments:
        lines += [line.strip("\r\n\ufeff") for line in sys.stdin] if argument == "-" else [argument]
    files = []
    for line in lines:
        if line.strip():
            matches = [Path(line)]
            if glob.has_magic(line) and not os.path.exists(line):
                matches = [path for path in _matches(line) if not _within(path, without)] or matches
            for match in matches:
                files += _below(match, others, without) if os.path.isdir(match) else [match]
    if others:
        kinds = collections.Counter(others.values()).most_common()
        listed = ", ".join(f"{kind} {count}" for kind, count in kinds[:8]) + (" ..." if kinds[8:] else "")
        print(f"left out: {len(others)} of other kinds ({listed})", file=sys.stderr)
    first = {}
    for file in files:
        first.setdefault(os.path.abspath(file), file)
    if not first:
        raise UserError(f"{' '.join(arguments)}: no picture and no clip; expected files, folders or patterns")
    return list(first.values())


def _matches(pattern):
    """What a pattern matches, in natural order; unlike glob's, "**" enters no linked folder, which may be a loop."""
    root, given = Path(pattern).anchor, Path(pattern).parts
    try:
        found = [
            path
            for path in Path(root or ".").glob(pattern[len(root) :])
            if not any(part.startswith(".") and part not in given for part in path.parts)  # hidden, unless named
        ]
    except (ValueError, NotImplementedError):  # no pattern after all
        return []
    return sorted(found, key=_key)


def _within(path, folder):
    return folder and Path(os.path.realpath(path)).is_relative_to(folder)


def _below(folder, others, without):
    """The pictures and clips in and below a folder; the kinds of what else is there go into `others`."""

    def unreadable(error):
        print(f"warning: {error.filename}: {error.strerror}; this folder is left out", file=sys.stderr)

    files = []
    for place, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = [name for name in folders if not (name.startswith(".") or _within(Path(place, name), without))]
        for file in (Path(place, name) for name in names if not name.startswith(".")):
            kind = file.suffix.lower()
            if kind in SUFFIXES and os.path.isfile(file):
                files.append(file)
            else:
                others[os.path.abspath(file)] = "no plain file" if kind in SUFFIXES else kind or "without suffix"
    return sorted(files, key=_key)


def _key(path):
    return natural_key(str(path))


def prepare_inputs(files, seen, fit, frames):
    """Yield ((path, frame, seconds), Look) for each picture and each chosen frame of a clip, ahead of who takes them.

    files: (number, path) of each, the number that which it has among all files of the run, from 0.  seen, fit: as common.prediction.resize_modes.look.  frames: which of a clip, as common.media.clips.take; frame and seconds are None for a
    picture.  After the last of each file comes ((path, None, None), None), or a UserError in place of the None: what is
    wrong with one file does not stop the others.
    """

    def load(file):
        number, path = file
        try:
            return path, prepare_image(path, seen, fit)._replace(number=number)
        except UserError as error:
            return path, error

    for clips, group in itertools.groupby(files, lambda file: is_clip(file[1])):
        if clips:
            for number, path in group:
                yield from _clip_looks(number, path, seen, fit, frames)
            continue
        with prefetch(load, group, AHEAD[fit]) as loaded:
            for path, result in loaded:
                yield (path, None, None), result
                if not isinstance(result, UserError):
                    yield (path, None, None), None


def _clip_looks(first, path, seen, fit, frames):
    chosen, said = extract_frames(path, frames), functools.cache(lambda: format_warning(probe(path), "seen"))

    def load(index):
        try:
            (frame, seconds, pixels), warning = next(chosen), said()
        except StopIteration:
            return (path, None, None), None
        except UserError as error:
            return (path, None, None), error
        return (path, frame, seconds), prepare_image(pixels, seen, fit)._replace(lost=warning, number=first + index)

    with prefetch(load, itertools.count(), min(AHEAD[fit], 4), workers=1) as loaded:
        for key, result in loaded:
            yield key, result
            if key[1] is None:
                return
