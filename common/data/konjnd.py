"""KonJND-1k (Lin et al., IEEE TCSVT 2022) into the rootdir layout.

Each image is coded by JPEG or by BPG (HEVC intra), and some 42 people each gave a distortion level, the first at which
they saw it flicker against the original.  So there is a JND1 and no more.  The levels of BPG are its QPs, 1 to 51.
Those of JPEG are 1 to 100, and level L is the quality factor (QF) 101 - L.  A dataset has one of the two units.

This was written without the download (docs/konjnd.md says from what).  So each image is checked for what its files can
disprove: the sheet's own count and mean, the QF in the JPEG's quantisation table, the direction of BPG's levels.
"""

import functools
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from common.core.errors import UserError
from common.core.names import natural_key
from common.core.threads import CORES
from common.data.builder import DatasetBuilder
from common.data.layout import SPLIT_SHARES, split_folder
from common.data.levels import nearest_qp
from common.data.tables import read_list, read_table
from common.media.images import open_image, read_image, write_png
from common.media.metrics import psnr

SHEET = "subjective_ratings.csv"
COLUMNS = ("image_id", "Compression type", "No. of ratings", "mean", "ratings")
CODECS = {"BPG": ("QP", 51, "png"), "JPEG": ("QF", 100, "jpg")}  # unit, highest distortion level, suffix
ROUNDING = 0.05  # of the sheet's means
STATISTICS = {"quartile": functools.partial(np.quantile, q=0.25), "median": np.median, "mean": np.mean}


def build_konjnd(
    konjnd_dir: str | Path,
    data_dir: str | Path,
    *,
    codec: str = "BPG",
    label: str = "quartile",
    split: Sequence[float] = SPLIT_SHARES,
    seed: int = 0,
    jobs: int = CORES,
    overwrite: bool = False,
) -> int:
    """Make the dataset, or go on with it.

    The parameters are the flags of `python3 -m common.prepare konjnd`.  Returns 1 where an image was left out, else 0.
    """
    folder, unit = Path(konjnd_dir), CODECS[codec][0]
    builder = DatasetBuilder(data_dir, "konjnd", "source image", jobs, overwrite, unit_noun="image")

    def problem(name, image):
        return None if image.original.is_file() else f"{name}: no {image.original}"

    usable = builder.keep_usable(read_ratings(folder, codec, label), problem, folder)
    splits = builder.assign_splits(usable, split, seed)
    images = {name: usable[name] for name in sorted(splits, key=natural_key)}
    builder.claim(
        settings={"codec": codec, "label": label, "split": split, "seed": seed},
        sources={name: [image.ratings, image.original.stat().st_size] for name, image in images.items()},
        plan={"splits": {name: splits[name] for name in images}},
    )
    units = {name: functools.partial(image.write, splits[name]) for name, image in images.items()}
    remark = "QP of BPG (HEVC), not of H.264" if unit == "QP" else "QF; pass --label_unit QF to the programs"
    return builder.run(units, lambda rows: f"the levels are {rows[0]['labels']}, JND1 only, in {remark}")


@dataclass(frozen=True)
class RatedImage:
    """A row of the sheet, and the folder that the sheet lies in."""

    folder: Path
    name: str
    codec: str
    label: str  # a key of STATISTICS
    where: str  # of the row, for messages
    count: float
    mean: float
    ratings: str  # such as "[25, 23]", distortion levels

    @property
    def original(self) -> Path:
        return self.folder / "source_image" / f"{self.name}.png"

    def coded(self, level: int) -> Path:
        """Return the path of the image coded at a distortion level."""
        name = f"{self.name}_{self.codec}_{level:03}.{CODECS[self.codec][2]}"
        return self.folder / self.codec.lower() / name

    def write(self, split: str, folder: Path) -> list[dict]:
        """Write the image as a PNG, and its file at JND1, into subfolders of `folder`; return its row of the manifest.

        Raises UserError where the sheet or the files contradict themselves.
        """
        unit, highest, suffix = CODECS[self.codec]
        ratings = read_list(self.ratings, highest, f"{self.where}: ratings")
        if (
            len(ratings) != self.count
            or abs(ratings.mean() - self.mean) > ROUNDING
            or (ratings % 1 + (ratings < 1)).any()
        ):
            raise UserError(
                f"{self.where}: {len(ratings)} ratings, their mean {ratings.mean():.2f}, from {ratings.min():g}; "
                f"expected {self.count:g}, mean {self.mean:g}, as the row says, each a whole level from 1 to {highest}"
            )
        level = float(STATISTICS[self.label](ratings))
        shown = self.coded(nearest_qp(level))
        raw, pixels = read_image(self.original), read_image(shown)
        if raw.shape != pixels.shape:
            raise UserError(f"{shown}: its size is not that of {self.original.name}; copy both again")
        db = psnr(raw, pixels)
        self.check_direction(nearest_qp(level), raw, db)
        values, samples = (level, ratings) if unit == "QP" else (101 - level, 101 - ratings)
        write_png(folder / split_folder(split) / f"{self.name}.png", raw)
        target = folder / split_folder(split, "JND1") / f"{self.name}.{suffix}"
        target.parent.mkdir()
        shutil.copyfile(shown, target)
        row = {
            "split": split,
            "image": f"{self.name}.png",
            "picture": self.name,
            **{"JND1": values, "JND2": None, "JND3": None},
            "source at JND1": shown.name,
            "PSNR at JND1": round(db, 2),
            "samples at JND1": json.dumps(samples.astype(int).tolist()),
            "unit": unit,
            "labels": f"human (KonJND-1k {self.codec}, {self.label})",
        }
        return [row]

    def check_direction(self, level: int, raw: np.ndarray, db: float) -> None:
        """Raise UserError where the files are not numbered by distortion level, as the ratings are.

        db: PSNR of the image `raw` coded at `level`.
        """
        path = self.coded(level)
        if self.codec == "JPEG":
            with open_image(path) as image:
                found = getattr(image, "quantization", {}).get(0)
            qfs = [qf for qf, table in _luma_tables().items() if table == found]
            if 101 - level not in qfs:
                raise UserError(
                    f"{path}: quantised as by {f'QF {qfs[0]}' if qfs else 'no QF of the IJG tables'}; expected QF "
                    f"{101 - level}, 101 - its level"
                )
        elif level > 1 and psnr(raw, read_image(self.coded(1))) <= db:
            raise UserError(f"{path}: no worse than {self.coded(1).name}; expected QP {level} to be worse than QP 1")


@functools.cache
def _luma_tables() -> Mapping[int, list[int]]:
    """{QF: the luma quantisation table of a JPEG}, by the IJG's tables and scaling."""
    tables = {}
    for qf in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "JPEG", quality=qf)
        with Image.open(file, formats=["JPEG"]) as image:
            tables[qf] = image.quantization[0]  # type: ignore  # of a JpegImageFile
    return tables


def read_ratings(folder: Path, codec: str, label: str) -> dict[str, RatedImage]:
    """Return {name of the image, such as SRC0001: its row} of the sheet in `folder`, of the images coded by `codec`."""
    file, rows = folder / SHEET, {}
    table = read_table(file, COLUMNS, {"No. of ratings": (1, 1000), "mean": (0, 100)})
    for line, image, kind, *fields in table[list(COLUMNS)].itertuples():
        name = str(image).removesuffix(".png")
        if kind not in CODECS:
            raise UserError(f"{file}:{line}: Compression type is {kind!r}; expected {' or '.join(CODECS)}")
        if f"{Path(name).name}.png" != image:
            raise UserError(f"{file}:{line}: image_id is {image!r}; expected a name such as SRC0001.png")
        if kind == codec and name in rows:
            raise UserError(f"{file}:{line}: image_id {image} again; expected one row for each")
        if kind == codec:
            rows[name] = RatedImage(folder, name, codec, label, f"{file}:{line}", *fields)
    return rows
