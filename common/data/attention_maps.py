"""Attention maps as files: rootdir/vatrain/ and vavalid/ hold a gray image for each image of train/ and valid/.

A map has the name of its image and any size.  It is brighter where people look and black where nobody does: measured
gaze (a map of fixations, smoothed), or what `python3 -m common.prepare attention` computes (see
`common.data.saliency`).  Computed maps say so in their PNG text, so that nobody mistakes one kind for the other.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from common.core.errors import UserError, attempt
from common.core.files import atomic_write
from common.core.names import PART, composed
from common.core.parallel import parallel_map
from common.core.threads import CORES, prefetch
from common.data.dataset import Split, group_by_stem, list_images, match_images
from common.media.images import open_image, read_image

COMPUTED = "computed saliency (common.saliency, Boolean Map Saliency), not measured gaze"
"""What a computed map says of itself.  Existing maps hold this text, so it never changes, although the module moved."""
COLOUR = 16  # the channels of a gray JPEG may differ by so much, of 255


def load_map(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return the gray image in the file `path` as a distribution over places: float32 (*size, 1), at least 0, of sum 1.

    size: Height and width; each place has the mean of the pixels that it covers.  Raises UserError as `read_image`,
    and for an image in colour or all black.
    """
    pixels = read_image(path)
    if (np.ptp(pixels, axis=-1) > COLOUR).any():
        raise UserError(f"{path}: in colour; expected a gray map, brighter where people look")
    gray, (height, width) = Image.fromarray(pixels.mean(axis=-1, dtype=np.float32)), size
    places = np.asarray(gray.resize((width, height), Image.Resampling.BOX), np.float64)
    if not places.any():
        raise UserError(f"{path}: all black; expected a gray map, brighter where people look")
    return (places / places.sum()).astype(np.float32)[..., None]


def read_maps(split: Split, root: str | Path, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """Return the maps of a split from `root`/va{split.name}, float32 (N, *size, 1), and how many are computed.

    Raises UserError where a map is missing or ambiguous, and as `load_map`.
    """
    folder = Path(root) / f"va{split.name}"
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; expected gray attention maps with the names of the images in {split.folder}; "
            f"`python3 -m common.prepare attention --data_dir {root}` computes some"
        )
    paths = match_images(split, folder, decode=False)
    with prefetch(lambda path: load_map(path, size), paths) as maps:
        return np.stack(list(maps)), sum(map(is_computed, paths))


def is_computed(path: Path) -> bool:
    """Return whether the map in the file `path` says that `make_map` made it."""
    try:
        with open_image(path) as image:
            return image.info.get("Description") == COMPUTED
    except Exception:  # whoever reads the map says what is wrong with the file
        return False


def make_map(image: Path, path: Path) -> None:
    """Compute the map of the file `image` and write it as the 8-bit gray PNG `path`, of the image's size."""
    from common.data.saliency import saliency  # needs scikit-image, which reading maps does not

    gray = Image.fromarray(np.rint(255 * saliency(read_image(image))).astype(np.uint8))
    note = PngImagePlugin.PngInfo()
    note.add_text("Description", COMPUTED)
    with atomic_write(path) as temporary:
        gray.save(temporary, format="PNG", pnginfo=note)


def make_maps(
    data_dir: str | Path, *, splits: Sequence[str] = ("train", "valid"), jobs: int = CORES, overwrite: bool = False
) -> int:
    """Compute the maps that the images of `splits` lack; return 1 where an image could not be read, else 0.

    Existing maps are kept, whoever made them and whatever their suffix; `overwrite` replaces those that end in .png.
    """
    root, todo, kept = Path(data_dir), [], []
    for split in dict.fromkeys(splits):
        images, folder = _images_by_stem(root / split), root / f"va{split}"
        existing = {}
        if folder.is_dir():
            for path in folder.glob(f"{PART}*"):  # a killed run left it
                path.unlink()
            existing = {composed(path.stem): path for path in list_images(folder)}
        for stem, image in images.items():
            path = existing.get(stem)
            if path and not (overwrite and path.suffix == ".png"):
                kept.append(path)
            else:
                todo.append((image, folder / f"{image.stem}.png"))

    unreadable = list(filter(None, parallel_map(lambda paths: attempt(make_map, *paths), todo, jobs, "map")))
    for error in unreadable:
        print(f"left out: {error}", file=sys.stderr)
    others = len(kept) - sum(map(is_computed, kept))
    print(
        f"{root}: {len(todo) - len(unreadable)} attention maps made, {len(kept)} were there"
        + (f", {others} of them not made by this command" if others else "")
        + f"\nmade means: {COMPUTED}"
    )
    return 1 if unreadable else 0


def _images_by_stem(folder):
    """{composed stem: path} of the images in `folder`."""
    groups = group_by_stem(list_images(folder)) if folder.is_dir() else {}
    for image, *others in groups.values():
        if others:
            raise UserError(f"{others[0]}: same name as {image.name}, so a map could belong to either; rename one")
    if not groups:
        raise UserError(f"{folder}: no images; expected some, or other --splits")
    return {stem: image for stem, (image,) in groups.items()}
