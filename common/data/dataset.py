"""The rootdir layout: find the images of a split, match them with their labels and coded images, check everything.

See `common.data.layout` for what lies where.
"""

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from common.core import threads
from common.core.errors import UserError, attempt
from common.core.messages import warn
from common.core.names import composed, natural_key
from common.core.parallel import parallel_map
from common.data.labels import LINES_SHOWN, read_labels
from common.data.layout import LABEL_FILE, LEVELS, Unit
from common.media.formats import IMAGE_SUFFIXES
from common.media.images import read_image

Labels = Literal["required", "optional", "ignored"]


@dataclass(frozen=True, eq=False)
class Split:
    """The images of one split, in natural order, with their labels.

    `labels` is float32 (N, 3): JND1, JND2, JND3 of each image in QP, 0 to 51 (or JPEG quality factors, 0 to 100), or
    None where there is no label file.  Levels that the file does not give are NaN, see `levels`.
    """

    name: str
    folder: Path
    images: tuple[Path, ...]
    labels: np.ndarray | None

    def __len__(self):
        return len(self.images)

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that the labels give: all three, or JND1 alone; none without labels."""
        columns = [] if self.labels is None else self.labels.T
        return tuple(level for level, column in zip(LEVELS, columns) if not np.isnan(column).any())


def list_images(folder: str | Path) -> list[Path]:
    """Return the paths of the images that lie in `folder` itself, in natural order; hidden files do not count."""
    return sorted(
        (
            path
            for path in Path(folder).iterdir()
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
        ),
        key=lambda path: natural_key(path.name),
    )


def group_by_stem(images: Iterable[Path]) -> dict[str, list[Path]]:
    """Return {name without suffix, composed: the images that have it}."""
    groups = {}
    for image in images:
        groups.setdefault(composed(image.stem), []).append(image)
    return groups


def load_splits(
    root: str | Path, names: Iterable[str], *, labels: Labels = "required", unit: Unit = "QP", decode: bool = True
) -> dict[str, Split]:
    """Return the splits of `read_splits` by name, and print its warnings to stderr."""
    splits, warnings = read_splits(root, names, labels=labels, unit=unit, decode=decode)
    for warning in warnings:
        warn(f"warning: {warning}")
    return splits


def read_splits(
    root: str | Path, names: Iterable[str], *, labels: Labels = "required", unit: Unit = "QP", decode: bool = True
) -> tuple[dict[str, Split], list[str]]:
    """Read the splits `names` of the rootdir `root`: return ({name: Split}, [warning, ...]).

    Args:
        root: The folder that holds train/, valid/ and test/.
        names: Some of SPLITS.
        labels: "required"; "optional": a missing label file gives labels None, a wrong one is still an error; or
            "ignored".
        unit: Of the labels, see `read_labels`, whose warnings are passed on.
        decode: Decode every image once, on all cores, to find the broken ones before work starts.

    Raises:
        UserError: It lists all that is wrong in all these splits: on one line, or as an indented list.
    """
    root, splits, problems, warnings = Path(root), {}, [], []
    for name in names:
        folder = root / name
        if not folder.is_dir():
            problems.append(f"{folder}: no such folder; expected images and {LABEL_FILE} in it")
            continue
        images, found = tuple(list_images(folder)), None
        if not images:
            problems.append(f"{folder}: no images; expected files ending in {' '.join(sorted(IMAGE_SUFFIXES))}")
        elif labels == "required" or (labels == "optional" and (folder / LABEL_FILE).exists()):
            found, wrong, unordered = read_labels(folder / LABEL_FILE, [image.name for image in images], unit)
            problems += wrong
            warnings += unordered
        splits[name] = Split(name, folder, images, found)
    if decode:
        problems += _broken([image for split in splits.values() for image in split.images])
    _raise_together(problems, root)
    return splits, warnings


def match_images(split: Split, folder: str | Path, *, decode: bool = True) -> tuple[Path, ...]:
    """Return the images in `folder`, such as rootdir/jnd1train, that belong to the images of `split`, in their order.

    They have the same name, composed or decomposed; the suffix may differ.  Further images in `folder` are ignored.

    Raises UserError, which lists the missing, ambiguous and, with `decode`, broken ones together.
    """
    folder, matches, problems = Path(folder), [], []
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected images with the names of those in {split.folder}")
    owners, by_stem = group_by_stem(split.images), group_by_stem(list_images(folder))
    for image in split.images:
        owner, found = owners[composed(image.stem)][0], by_stem.get(composed(image.stem), [])
        if owner is not image:
            problems.append(f"{image}: same name as {owner.name}, so {folder.name} could match either; rename one")
        elif not found:
            problems.append(f"{folder}: no image for {split.name}/{image.name}; expected {image.stem}.png or such")
        elif len(found) > 1:
            problems.append(f"{folder}: {', '.join(f.name for f in found)} all match {image.name}; keep one of them")
        else:
            matches += found
    if decode:
        problems += _broken(matches)
    _raise_together(problems, folder.parent)
    return tuple(matches)


def _broken(images):
    """Decode each of `images` and return what is wrong with them, a line each."""

    def decode(path):
        read_image(path)  # and forget it: all images together would fill the memory

    errors = parallel_map(functools.partial(attempt, decode), images, threads.CORES, "image")
    return [str(error) for error in errors if error]


def _raise_together(problems, root):
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        shown = [problem.removeprefix(f"{root}{os.sep}") for problem in problems[:LINES_SHOWN]]
        more = [f"and {len(problems) - len(shown)} more"] if len(problems) > len(shown) else []
        raise UserError("\n  ".join([f"{len(problems)} problems in {root}:", *shown, *more]))
