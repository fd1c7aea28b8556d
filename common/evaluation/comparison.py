"""Predicted levels compared with labels, and the images coded at both."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common.core.errors import UserError
from common.core.names import composed
from common.data import dataset, videoset
from common.data.layout import LEVELS
from common.data.levels import HIGHEST_QP, nearest_qp, satisfied
from common.data.tables import distinct, label_kinds, read_list, read_manifest, source_column
from common.encoding.image_cache import EncodedImageCache
from common.evaluation import accuracy
from common.evaluation.trials import Trial


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """The test images of a dataset, with all that is known of them."""

    name: str  # the rootdir as the command line gives it
    split: dataset.Split
    medians: np.ndarray  # of the training levels in QP, (3,); NaN where it has no labels, or is not there
    label_kind: str  # such as "human (VideoSet 1920x1080, jnd)"
    sources: Sequence[str]  # the photograph or clip of each image
    samples: dict[Path, Sequence[np.ndarray]]  # the subjects' own levels in QP, an array per level, where known

    @property
    def pseudo(self) -> bool:
        return self.label_kind.startswith("pseudo")

    @property
    def noun(self) -> str:
        """What a label is called: computed labels are always called pseudo-labels."""
        return "pseudo-label" if self.pseudo else "label"


def read_data(root: Path, sheets: Path | None = None) -> EvaluationData:
    """Read the test split of a rootdir.

    sheets: The folder of VideoSet's label sheets; without it, the subjects' levels are those of the manifest.  Raises
    UserError where there is no test split with labels in QP, or the manifest contradicts itself.
    """
    manifest, faults = read_manifest(root)
    if faults:
        raise UserError(f"{root}: {faults[0]}")
    unit = next(iter(distinct(manifest, "unit")), "QP")
    if unit != "QP":
        raise UserError(f"{root / 'manifest.csv'}: labels in {unit}; expected QP, at which images can be coded")
    split = dataset.load_splits(root, ("test",))["test"]
    medians = np.full(3, np.nan)
    if (root / "train").is_dir():
        train = dataset.load_splits(root, ("train",), decode=False)["train"]
        medians = np.median(np.asarray(train.labels), axis=0)
    label_kind = label_kinds(root, manifest)
    rows = manifest
    if len(manifest):
        rows = manifest[manifest["split"] == "test"]
        rows = rows.set_index(pd.Index([composed(name) for name in rows["image"]]))
    column = source_column(rows)
    sources = [str(rows[column].get(composed(path.name), path.name)) if column else path.name for path in split.images]
    if sheets:
        samples = sheet_samples(sheets, label_kind, dict(zip(split.images, sources)))
    else:
        samples = manifest_samples(root, rows, split.images)
    return EvaluationData(str(root), split, medians, label_kind, sources, samples)


def sheet_samples(sheets: Path, label_kind: str, clips: dict[Path, str]) -> dict[Path, Sequence[np.ndarray]]:
    """Read the subjects' levels in QP, {image: an array for each level}, from VideoSet's label sheets.

    Args:
        label_kind: The kind of the labels, which names the size of the clips.
        clips: {image: its clip, such as "SRC001"}.
    """
    size = re.search(r"VideoSet (\d+x\d+)", label_kind)
    if not size:
        raise UserError(
            f"--sheets {sheets}: the dataset's labels are {label_kind}; expected those of VideoSet, as common.prepare "
            "writes them"
        )
    levels = {f"SRC{number:03}": samples for number, samples in videoset.read_samples(sheets, size[1]).items()}
    return {path: levels[clip] for path, clip in clips.items() if clip in levels}


def manifest_samples(root: Path, rows: pd.DataFrame, images: Sequence[Path]) -> dict[Path, Sequence[np.ndarray]]:
    """Read the same from `rows`, the manifest's of the split: common.prepare keeps samples there, but VideoSet's."""
    columns = [f"samples at {level}" for level in LEVELS]
    columns = [column for column in columns if column in rows]
    if not columns:
        return {}
    texts = {path: [str(rows[column].get(composed(path.name), "")) for column in columns] for path in images}
    return {
        path: [read_list(text, HIGHEST_QP, f"{root / 'manifest.csv'}: {path.name}: samples") for text in fields]
        for path, fields in texts.items()
        if all(fields)
    }


def compare(
    data: EvaluationData, trials: Sequence[Trial], encoded_images: EncodedImageCache, *, psnr: str, jobs: int
) -> pd.DataFrame:
    """Return a row per prediction: model, level and image, and the columns that `accuracy.measure` needs.

    Args:
        trials: Their result files must exist.
        encoded_images: Encodes each image at the predicted, the true and the fixed QPs.
        psnr: What PSNR is computed of, "luma" or "rgb".
        jobs: How many images are encoded at a time.
    """
    parts = []
    for trial in trials:
        predicted = pd.read_csv(trial.result, encoding_errors="surrogateescape")
        for level in trial.levels:
            if level not in data.split.levels:
                continue
            index = LEVELS.index(level)
            columns = {
                "model": trial.model,
                "level": index + 1,
                "image": [path.name for path in data.split.images],
                "source": data.sources,
                "true": np.asarray(data.split.labels, float)[:, index],
                "predicted": predicted[level],
                "median": data.medians[index],
            }
            part = pd.DataFrame(columns)
            part["coded QP"], part["true QP"] = (nearest_qp(part[name], clip=True) for name in ("predicted", "true"))
            mixture = accuracy.equal_risk(part["true"], (part["coded QP"] > part["true"]).mean())
            part["low QP"], part["high QP"], part["weight"] = mixture or (part["coded QP"], part["coded QP"], np.nan)
            parts.append(part.assign(path=data.split.images))
    table = pd.concat(parts, ignore_index=True)
    qps = {path: set() for path in data.split.images}
    for name in ("coded QP", "true QP", "low QP", "high QP"):
        for path, qp in zip(table["path"], table[name]):
            qps[path].add(qp)
    measured = encoded_images.measure(qps, jobs)
    rows = {(path, qp): values for path, (by_qp, _) in measured.items() for qp, values in by_qp.items()}
    quality = pd.DataFrame(list(rows.values()), index=pd.MultiIndex.from_tuples(rows))

    def at(name):
        return quality.loc[list(zip(table["path"], table[name]))].reset_index(drop=True)

    coded, reference = at("coded QP"), at("true QP")
    for name, measure in {"PSNR": f"psnr {psnr}", "SSIM": "ssim", "VMAF": "vmaf"}.items():
        table[name] = coded[measure].astype(float) - reference[measure].astype(float)
    table["bytes"] = coded["bytes"]
    table["fixed bytes"] = (1 - table["weight"]) * at("low QP")["bytes"] + table["weight"] * at("high QP")["bytes"]
    table["satisfied"] = [
        satisfied(data.samples[path][level - 1], qp) if path in data.samples else np.nan
        for path, level, qp in zip(table["path"], table["level"], table["coded QP"])
    ]
    table["SI"] = [measured[path][1] for path in table["path"]]
    return table.drop(columns=["path", "low QP", "high QP", "weight"])
