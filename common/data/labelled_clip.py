"""A clip whose levels are known, as frames of a dataset."""

from typing import NamedTuple

from common.core.errors import UserError
from common.data.dataset import LEVELS, split_folder
from common.data.levels import nearest_qp
from common.media.clips import count_frames, extract_frames
from common.media.images import write_png


class LabelledClip(NamedTuple):
    """A clip whose levels are known: all its frames share them.

    clip: what the manifest calls it.  levels: JND1, JND2, JND3 in QP; one with decimals has the frames of the nearest
    QP, halves upwards.  labels: what they are.  files: {QP: path}, 0 the clip itself, others coded of the same frames.
    size: (H, W) that its frames must have, where that is known.  rate, fit: as `extract_frames`.
    """

    clip: str
    split: str
    levels: tuple
    labels: str
    files: dict
    size: tuple | None = None
    rate: float | None = None
    fit: tuple | None = None

    def make(self, unit, choice, folder):
        """Write chosen frames, raw and as coded at each level, as PNG files into subfolders of `folder`.

        Where no file has the QP of a level, the clip is coded here.  Returns the rows of the manifest.
        Raises UserError as `extract_frames`, and where frames of two files differ in size.
        """
        qps = [nearest_qp(level) for level in self.levels]
        missing = {qp: folder / f"{qp}.264" for qp in qps if qp not in self.files}
        for qp in set(qps) - missing.keys():  # a bare bitstream that ends early looks sound
            count, due = count_frames(self.files[qp]), count_frames(self.files[0])
            if count != due:
                raise UserError(f"{self.files[qp]}: {count} frames, while {self.files[0]} has {due}; copy both again")
        folder.mkdir(parents=True)
        rows = []
        for index, (number, seconds, pixels) in enumerate(
            extract_frames(self.files[0], choice, self.rate, self.fit, missing), 1
        ):
            image = f"{unit}_{index}.png"
            self._check_size(self.files[0], pixels, self.size or pixels.shape[:2])
            write_png(folder / split_folder(self.split) / image, pixels)
            place = {"clip": self.clip, "frame": number, "seconds": round(seconds, 3)}
            rows.append({"split": self.split, "image": image, **place, **dict(zip(LEVELS, self.levels))})
        size = pixels.shape[:2]
        for level, qp in zip(LEVELS, qps):
            file = missing.get(qp) or self.files[qp]
            padded = tuple(side + side % 2 if qp in missing else side for side in size)
            for (_, _, pixels), row in zip(extract_frames(file, [row["frame"] for row in rows]), rows):
                self._check_size(file, pixels, padded)
                write_png(folder / split_folder(self.split, level) / row["image"], pixels[: size[0], : size[1]])
                row |= {f"QP at {level}": qp, f"source at {level}": "coded here" if qp in missing else file.name}
        for file in missing.values():
            file.unlink()
        return [{**row, "unit": "QP", "labels": self.labels} for row in rows]

    def _check_size(self, file, pixels, size):
        if pixels.shape[:2] != size:
            found, due = (f"{width}x{height}" for height, width in (pixels.shape[:2], size))
            raise UserError(
                f"{file}: frames of {found}; expected {due}, as its name or its reference says; copy it again"
            )
