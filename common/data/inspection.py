"""What `prepare check` looks for in the images themselves: copies, and coded images that do not fit their labels.

Two images are alike where their gray 16 x 16 versions, or mirrored ones, correlate above 0.95.  Of 36 photographs, any
two stayed below 0.63, and each stayed above 0.97 with its own copy of half the size, as a JPEG of quality 10, and a
seventh brighter.  A copy cut by more than a hundredth at each side can pass unseen.
"""

import hashlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.fft import dctn

from common.core.errors import UserError, attempt
from common.core.parallel import parallel_map
from common.data.dataset import Split
from common.data.layout import LEVELS, Unit
from common.data.levels import nearest_qp
from common.data.tables import SHOWN, count_with_examples
from common.media.images import read_image
from common.media.metrics import luma, psnr

ALIKE = 0.95
SIDE = 16  # of a thumbnail
DB_SLIP = 0.1  # dB: frames one QP apart may, if one is a B frame and the other is not
OTHER_DB = 15  # dB: a coded image further than this from the raw one shows something else
UNFIT_DB = 2.5  # about 4 QP; of frames of one encoder, a B frame is 1.5 dB below the others
ENOUGH = 5  # images, of which one or two do not move the median
BLOCK = 256  # images that are compared at once with all others


class Inspection(NamedTuple):
    """What is kept of an image; digest, size and thumbnail are None where it cannot be read."""

    name: str  # split and file name
    digest: str | None  # of the pixels
    size: tuple[int, int] | None  # (W, H)
    thumbnail: np.ndarray | None  # gray, (256,), of norm 1
    dbs: list[float | None]  # PSNR of its coded image at each level, None where there is none
    excess: list[float | None]  # dB: how much higher the PSNR of its luma is than expected at its label
    faults: list[str]  # what is wrong with the files


def inspect_images(
    splits: dict[str, Split], coded: dict[str, list[Sequence]], unit: Unit, jobs: int
) -> dict[str, list[Inspection]]:
    """Return {split: [Inspection of each image]}.  coded: {split: [the paths, or None, at each level]}."""
    todo = []
    for name, split in splits.items():
        labels = [None] * len(split) if split.labels is None else split.labels
        todo += [(name, *item, unit) for item in zip(split.images, labels, zip(*coded[name]))]
    results = iter(parallel_map(lambda item: _inspect(*item), todo, jobs, "image"))
    return {name: [next(results) for _ in split.images] for name, split in splits.items()}


def _inspect(split: str, path: Path, labels: Sequence[float] | None, coded: Sequence, unit: Unit) -> Inspection:
    """The Inspection of an image, whose coded images have the paths `coded`, or None."""
    name = f"{split}/{path.name}"
    nothing: list = [None] * len(coded)
    pixels = attempt(read_image, path)
    if isinstance(pixels, UserError):
        return Inspection(name, None, None, None, nothing, nothing, [str(pixels)])
    faults, dbs, excess = [], list(nothing), list(nothing)
    for index, file in enumerate(coded):
        other = attempt(read_image, file) if file else None
        if isinstance(other, UserError):
            faults.append(str(other))
        elif other is not None and other.shape != pixels.shape:
            faults.append(f"{file}: its size is not that of {name}")
        elif other is not None:
            dbs[index] = psnr(pixels, other)
            if labels is not None and np.isfinite([dbs[index], labels[index]]).all():
                expected = expected_psnr(pixels, float(labels[index]), unit)
                excess[index] = psnr(luma(pixels), luma(other)) - expected
    height, width = pixels.shape[:2]
    size = width, height
    gray = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    thumbnail = np.asarray(gray, np.float32).ravel()
    thumbnail = thumbnail - thumbnail.mean()
    norm = np.linalg.norm(thumbnail)
    digest = hashlib.sha256(f"{size}".encode() + pixels.tobytes()).hexdigest()
    return Inspection(name, digest, size, thumbnail / norm if norm > 1 else thumbnail * 0, dbs, excess, faults)


def expected_psnr(pixels: np.ndarray, level: float, unit: Unit) -> float:
    """Return about which PSNR, in dB, the luma of an image has when the image is coded at a QP or a QF.

    A QP stands for the rounding of H.264's intra frames, whose step doubles every 6 QP: on seven photographs x264 came
    0.1 to 1.5 dB above it, from QP 22 to 40.
    """
    plane = luma(pixels)
    if unit == "QF":
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=max(1, nearest_qp(level)))
        return psnr(plane, luma(np.asarray(Image.open(file, formats=["JPEG"]))))
    height, width = (max(size // 8 * 8, 8) for size in plane.shape)
    padding = [(0, max(0, 8 - size)) for size in plane.shape]
    plane = np.pad(plane, padding, "edge")[:height, :width].astype(np.float32)
    blocks = plane.reshape(height // 8, 8, width // 8, 8).swapaxes(1, 2)
    waves, step = np.asarray(dctn(blocks, axes=(2, 3), norm="ortho")), 0.625 * 2 ** (nearest_qp(level) / 6)
    rounded = np.sign(waves) * np.floor(np.abs(waves) / step + 1 / 3) * step
    return float(10 * np.log10(255**2 / max(((waves - rounded) ** 2).mean(), 1e-9)))


def find_copies(inspections: dict[str, list[Inspection]]) -> tuple[list[str], list[str]]:
    """Return (faults, remarks): images that are the same or alike, between splits a fault, within one a remark."""
    readable = [(split, one) for split, of_split in inspections.items() for one in of_split if one.digest]
    if not readable:
        return [], []
    same: dict[str | None, dict[str, list[str]]] = {}
    for split, one in readable:
        same.setdefault(one.digest, {}).setdefault(split, []).append(one.name)
    between = [" = ".join(map(_first, places.values())) for places in same.values() if len(places) > 1]
    within = [names for places in same.values() if len(places) == 1 for names in places.values() if len(names) > 1]
    faults = count_with_examples("images in two splits", between)
    remarks = count_with_examples("images more than once in a split", [" = ".join(names[:2]) for names in within])
    counts, shown = (
        Counter(),
        defaultdict(list),
    )  # of many images that look alike, each pair as text would fill the memory
    for kind, count, pairs in _alike(readable):
        counts[kind] += count
        shown[kind] += pairs[: SHOWN - len(shown[kind])]
    for kind, count in counts.items():
        in_one_split, mirrored = kind
        lines, where = (remarks, "a split, as frames of a still scene are") if in_one_split else (faults, "two splits")
        lines += count_with_examples(f"pairs of images alike{', mirrored' * mirrored}, in {where}", shown[kind], count)
    return faults, remarks


def _alike(readable: list[tuple[str, Inspection]]) -> Iterator[tuple[tuple[bool, bool], int, list[str]]]:
    """Yield ((in one split, mirrored), number of pairs, the first pairs) of images that are alike, not the same."""
    thumbnails = np.array([one.thumbnail for _, one in readable])
    squares = thumbnails.reshape(-1, SIDE, SIDE)
    flips = [squares[:, :, ::-1], squares[:, ::-1], squares[:, ::-1, ::-1]]
    split = np.unique([name for name, _ in readable], return_inverse=True)[1]
    digest = np.unique([str(one.digest) for _, one in readable], return_inverse=True)[1]
    for start in range(0, len(readable), BLOCK):
        block, end = slice(start, start + BLOCK), min(start + BLOCK, len(readable))
        earlier = np.arange(end) < np.arange(start, end)[:, None]  # the second of each pair is in the block
        different = earlier & (digest[:end] != digest[block, None])
        upright = (thumbnails[block] @ thumbnails[:end].T > ALIKE) & different
        turned = np.zeros_like(upright)
        for flip in flips:
            turned |= flip[block].reshape(-1, SIDE * SIDE) @ thumbnails[:end].T > ALIKE
        in_one_split = split[:end] == split[block, None]
        for mirrored, found in ((False, upright), (True, turned & different & ~upright)):
            for one_split in (True, False):
                pairs = np.flatnonzero(found & (in_one_split == one_split))
                if len(pairs):
                    first = [divmod(pair, end) for pair in pairs[:SHOWN].tolist()]
                    names = [f"{readable[a][1].name} ~ {readable[start + b][1].name}" for b, a in first]
                    yield (one_split, mirrored), len(pairs), names


def _first(names):
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def check_coded_images(
    labels: np.ndarray, inspections: list[Inspection], unit: Unit, usual: Sequence[float]
) -> tuple[list[str], list[str]]:
    """Return (faults, remarks) on coded images: PSNR must fall as labels get worse, and be that of the same image.

    usual: The excess (see `Inspection`) that is usual in the dataset at each level, NaN where that is not known.
    """
    contrary, equal, other, raw, worse, better = [], [], [], [], [], []
    for levels, one in zip(labels * (1 if unit == "QP" else -1), inspections):
        known = [(level, db, name) for level, db, name in zip(levels, one.dbs, LEVELS) if db is not None]
        for (level, db, name), (next_level, next_db, next_name) in zip(known, known[1:]):
            line = f"{one.name} {name} {abs(level):g} {db:.1f} dB, {next_name} {abs(next_level):g} {next_db:.1f} dB"
            if (next_level - level) * (next_db - db) > 0 and abs(next_db - db) > DB_SLIP:
                contrary.append(line)
            both_known = np.isfinite(level) and np.isfinite(next_level)  # labels may be of JND1 only
            if next_db == db and both_known and nearest_qp(abs(level)) != nearest_qp(abs(next_level)):
                equal.append(line)
        other += [f"{one.name} {name} {db:.1f} dB" for _, db, name in known if db < OTHER_DB]
        raw += [f"{one.name} {name}" for level, db, name in known if db == np.inf and level]
        off = [excess - due for excess, due in zip(one.excess, usual) if excess is not None and np.isfinite(due)]
        if len(off) > 1 and min(map(abs, off)) > UNFIT_DB and len(set(np.sign(off))) == 1:
            (worse if off[0] < 0 else better).append(f"{one.name} by {np.mean(np.abs(off)):.1f} dB")
    faults = [
        *count_with_examples("pairs of coded images whose PSNR contradicts their levels", contrary),
        *count_with_examples("pairs of coded images of equal PSNR at different levels", equal),
        *count_with_examples(f"coded images of another image (PSNR below {OTHER_DB} dB)", other),
        *count_with_examples("coded images that are the image itself, not coded", raw),
        *count_with_examples("images whose coded images are all far worse than their labels say", worse),
    ]
    return faults, count_with_examples("images whose coded images are all far better than their labels say", better)


def usual_excess(inspections: dict[str, list[Inspection]]) -> list[float]:
    """Return the median excess of the coded images at each level, in dB; NaN where there are too few of them."""
    columns = zip(*(one.excess for of_split in inspections.values() for one in of_split))
    known = [[excess for excess in column if excess is not None] for column in columns]
    return [float(np.median(column)) if len(column) >= ENOUGH else np.nan for column in known]
