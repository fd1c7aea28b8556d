"""Attention maps as files: rootdir/vatrain/ and vavalid/ hold a gray picture for each picture of train/ and valid/.

A map is named as its picture, of any size, and brighter where people look, black where nobody does: measured gaze (a
map of fixations, smoothed), or what `python3 -m common.prepare attention` computes (see `common.data.saliency`).  Computed
maps say so in their PNG text, so that nobody has to take one kind for the other.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from common.core.errors import UserError
from common.core.files import PART, atomic_write
from common.core.threads import parallel_map, prefetch
from common.data import dataset
from common.media.images import read_image

# Stands in maps that exist, so it never changes, whatever becomes of the module that it names.
COMPUTED = "computed saliency (common.saliency, Boolean Map Saliency), not measured gaze"
COLOUR = 16  # levels that the channels of a gray JPEG may differ by


def load_map(path, size):
    """Return the map in the file `path` as a distribution over places: float32 (*size, 1), at least 0, of sum 1.

    size: height and width; each place has the mean of the pixels that it covers.  Raises UserError as `read_image`
    does, and for a picture in colour or all black.
    """
    pixels = read_image(path)
    if (np.ptp(pixels, axis=-1) > COLOUR).any():
        raise UserError(f"{path}: in colour; expected a gray map, brighter where people look")
    gray = Image.fromarray(pixels.mean(axis=-1, dtype=np.float32))
    places = np.asarray(gray.resize(size[::-1], Image.Resampling.BOX), np.float64)
    if not places.any():
        raise UserError(f"{path}: all black; expected a gray map, brighter where people look")
    return (places / places.sum()).astype(np.float32)[..., None]


def read_maps(split, root, size):
    """Return the maps of a common.data.dataset.Split, float32 (N, *size, 1), in its order, and how many are computed.

    They lie in `root`/va{split.name}.  Raises UserError where one is missing, ambiguous or as `load_map` refuses it.
    """
    folder = Path(root) / f"va{split.name}"
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; expected gray attention maps named as the pictures of {split.folder}; "
            f"`python3 -m common.prepare attention --data_dir {root}` computes some"
        )
    paths = dataset.match_images(split, folder, decode=False)
    with prefetch(lambda path: load_map(path, size), paths) as loaded:
        maps = list(loaded)
    return np.stack(maps), sum(map(is_computed, paths))


def is_computed(path):
    """Whether the map in the file `path` says that `make_map` made it."""
    try:
        with Image.open(path) as picture:
            return picture.info.get("Description") == COMPUTED
    except Exception:  # what it is instead, its reader will say
        return False


def make_map(picture, path):
    """Compute the map of the file `picture` and write it as the 8-bit gray PNG `path`, of the picture's size."""
    from common.data.saliency import saliency

    gray = Image.fromarray(np.rint(255 * saliency(read_image(picture))).astype(np.uint8))
    note = PngImagePlugin.PngInfo()
    note.add_text("Description", COMPUTED)
    with atomic_write(path) as temporary:
        gray.save(temporary, format="PNG", pnginfo=note)


def make_maps(arguments):
    """`python3 -m common.prepare attention`: returns 1 where a picture could not be read, else 0.

    A map that is there is kept, whoever made it and whatever its suffix; --overwrite makes those named .png anew.
    """
    root, todo, kept = Path(arguments.data_dir), [], []
    for split in dict.fromkeys(arguments.splits):
        pictures, folder = _pictures(root / split), root / f"va{split}"
        there = {}
        if folder.is_dir():
            for path in folder.glob(f"{PART}*"):  # what a killed run left half written
                path.unlink()
            there = {path.stem: path for path in dataset.list_images(folder)}
        for stem, picture in pictures.items():
            path = there.get(stem)
            if path and not (arguments.overwrite and path.suffix == ".png"):
                kept.append(path)
            else:
                todo.append((picture, folder / f"{stem}.png"))

    def make(pair):
        try:
            make_map(*pair)
        except UserError as error:
            return str(error)

    unreadable = [problem for problem in parallel_map(make, todo, arguments.jobs, "map") if problem]
    for problem in unreadable:
        print(f"left out: {problem}", file=sys.stderr)
    others = len(kept) - sum(map(is_computed, kept))
    print(
        f"{root}: {len(todo) - len(unreadable)} attention maps made, {len(kept)} were there"
        + (f", {others} of them not made by this command" if others else "")
        + f"\nmade means: {COMPUTED}"
    )
    return 1 if unreadable else 0


def _pictures(folder):
    """{stem: path} of the pictures in `folder`."""
    pictures = {}
    for picture in dataset.list_images(folder) if folder.is_dir() else ():
        other = pictures.setdefault(picture.stem, picture)
        if other is not picture:
            raise UserError(f"{picture}: named as {other.name}, so that a map could be of either; rename one")
    if not pictures:
        raise UserError(f"{folder}: no pictures; expected some, or other --splits")
    return pictures
