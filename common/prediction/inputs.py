"""What a person gives to predict, images, clips, folders, patterns, a list; and the images in it, in order."""

import collections
import glob
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.core.errors import UserError, attempt
from common.core.files import walk
from common.core.messages import warn
from common.core.names import natural_key
from common.core.threads import prefetch, read_ahead
from common.media.clips import extract_frames, format_warning, probe
from common.media.formats import CLIP_SUFFIXES, IMAGE_SUFFIXES, InputFormat, is_clip
from common.prediction.config import PredictionConfig
from common.prediction.resize_modes import AHEAD, PreparedImage, prepare_image

# Pillow reads more than IMAGE_SUFFIXES, which decide what belongs to a dataset.
SUFFIXES = IMAGE_SUFFIXES | CLIP_SUFFIXES | set(".avif .gif .j2k .jfif .jp2 .jpe .pbm .pnm .tga".split())

Frame = tuple[Path, int | None, float | None]  # (path, number, seconds); None for an image that is no clip's frame


def find_places(names: Iterable[str], exclude: str | None = None) -> dict[Path, Path]:
    """Find the files that names stand for, each once, in the order given; those of folders in natural order.

    Says on stderr what kinds of files in folders it leaves out.  Raises UserError where no name is left.

    Args:
        names: Files; folders, with all below; patterns such as "*/*.png" or "**/*.png"; "-" for a list on
            standard input, one a line.  Any other name is returned too, for its reader to say what is wrong.
        exclude: A folder whose files folders and patterns do not give.

    Returns:
        {path: its place in a folder of results}: the file's name; of folders, and of patterns from their first part
        that is one, with the folders below.
    """
    names, exclude = list(names), exclude and os.path.realpath(exclude)
    lines, others = [], {}
    for name in names:
        lines += [line.strip("\r\n\ufeff") for line in sys.stdin] if name == "-" else [name]
    files: dict[str, tuple[Path, Path]] = {}
    for line in lines:
        if line.strip():
            matches = {Path(line): Path("" if os.path.isdir(line) else Path(line).name)}
            if glob.has_magic(line) and not os.path.exists(line):
                found, start = _matches(line)
                matches = {one: one.relative_to(start) for one in found if not _is_within(one, exclude)} or matches
            for match, place in matches.items():
                for file in _files_below(match, others, exclude) if os.path.isdir(match) else [match]:
                    files.setdefault(os.path.abspath(file), (file, place / file.relative_to(match)))
    if others:
        kinds = collections.Counter(others.values()).most_common()
        listed = ", ".join(f"{kind} {count}" for kind, count in kinds[:8]) + (" ..." if kinds[8:] else "")
        advice = "; save .heic as JPEG first" if ".heic" in others.values() else ""
        warn(f"left out: {len(others)} of other kinds ({listed}){advice}")
    if not files:
        raise UserError(f"{' '.join(names)}: no image and no clip here; expected images, clips, or folders of them")
    return dict(files.values())


def _matches(pattern: str) -> tuple[list[Path], Path]:
    """What a pattern matches, in natural order, and the folder where it starts.

    Unlike glob's, "**" enters no linked folder, which may be a loop.  The name of a folder that is there is no pattern,
    as in "set [2024]/*.png".
    """
    root, given, start = Path(pattern).anchor, Path(pattern).parts, Path()
    parts = list(given)
    for number, part in enumerate(given):
        if not (start / part).exists():
            break
        start /= part
        parts[number] = glob.escape(part)
    escaped = str(Path(*parts))
    try:
        matches = [
            path
            for path in Path(root or ".").glob(escaped[len(root) :])
            if not any(part.startswith(".") and part not in given for part in path.parts)  # hidden, unless given
        ]
    except (ValueError, NotImplementedError):  # no pattern after all
        return [], start
    return sorted(matches, key=_order), start


def _is_within(path: Path, folder: str | None) -> bool:
    return folder is not None and Path(os.path.realpath(path)).is_relative_to(folder)


def _files_below(folder: Path, others: dict[str, str], exclude: str | None) -> list[Path]:
    """The images and clips in and below a folder; the kind of each other file goes into `others`."""

    def leave_out(error):
        warn(f"warning: {error.filename}: {error.strerror}; this folder is left out")

    files = []
    for place, folders, names in walk(folder, leave_out):
        folders[:] = [name for name in folders if not (name.startswith(".") or _is_within(Path(place, name), exclude))]
        for file in (Path(place, name) for name in names if not name.startswith(".")):
            kind = file.suffix.lower()
            if kind in SUFFIXES and os.path.isfile(file):
                files.append(file)
            else:
                others[os.path.abspath(file)] = "no plain file" if kind in SUFFIXES else kind or "without suffix"
    return sorted(files, key=_order)


def _order(path: Path):
    return natural_key(str(path))


def prepare_inputs(
    files: Iterable[tuple[int, Path]], input_format: InputFormat, config: PredictionConfig
) -> Iterator[tuple[Frame, PreparedImage | UserError | None]]:
    """Yield each image, and each chosen frame of a clip, prepared for a network; some are decoded ahead.

    After the last of each file comes ((path, None, None), None); or a UserError in place of the None, which does not
    stop the other files.  files: (number, path) of each, the number that it has in the run, from 0.
    """

    def load(file):
        number, path = file
        return path, attempt(prepare_image, path, input_format, config.resize_mode, number)

    for clips, group in itertools.groupby(files, lambda file: is_clip(file[1])):
        if clips:
            for number, path in group:
                yield from _prepare_frames(number, path, input_format, config)
            continue
        with prefetch(load, group, AHEAD[config.resize_mode]) as loaded:
            for path, result in loaded:
                yield (path, None, None), result
                if not isinstance(result, UserError):
                    yield (path, None, None), None


def _prepare_frames(first: int, path: Path, input_format: InputFormat, config: PredictionConfig):
    """What `prepare_inputs` yields of one clip; `first` is the number of its first frame among the run's images."""

    def prepared():
        end, warning = (path, None, None), ""
        try:
            for index, (number, seconds, pixels) in enumerate(extract_frames(path, config.frames)):
                warning = warning if index else format_warning(probe(path), "seen")
                image = prepare_image(pixels, input_format, config.resize_mode, first + index)
                yield (path, number, seconds), image._replace(format_warning=warning)
            yield end, None
        except UserError as error:
            yield end, error

    with read_ahead(prepared(), AHEAD[config.resize_mode] or 4) as frames:
        yield from frames
