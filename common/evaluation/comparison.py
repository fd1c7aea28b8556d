"""Predictions beside labels, and the images coded at both."""

import re
from pathlib import Path
from typing import NamedTuple

from common.core.errors import UserError


class Data(NamedTuple):
    """What the models are tried on.

    name: the rootdir as the command line gives it.  split: its test pictures, with levels in QP.  medians: of the
        training levels, NaN without.  labels: what kind they are.  sources: the photograph or clip of each picture.
    samples: {picture's path: three arrays of the subjects' levels}, empty where these are not given.
    """

    name: str
    split: object
    medians: object
    labels: str
    sources: list
    samples: dict

    @property
    def pseudo(self):
        return self.labels.startswith("pseudo")


def read_data(root, sheets):
    """The Data of a rootdir.  Raises UserError where its labels are not fit to compare with."""
    import numpy as np

    from common.data import check, dataset

    found = check.Report()
    manifest = check.read_manifest(root, found)
    if found.faults:
        raise UserError(f"{root}: {found.faults[0]}")
    unit = next(iter(manifest.get("unit", [])), "QP")
    if unit != "QP":
        raise UserError(f"{root / 'manifest.csv'}: labels in {unit}; expected QP, at which pictures can be coded")
    split = dataset.load_splits(root, ("test",))["test"]
    medians = np.full(3, np.nan)
    if (root / "train").is_dir():
        medians = np.median(dataset.load_splits(root, ("train",), decode=False)["train"].labels, axis=0)
    kind = next(iter(manifest.get("labels", [])), "of unknown origin: there is no manifest.csv")
    rows = manifest[manifest["split"] == "test"].set_index("image") if len(manifest) else manifest
    column = next((name for name in ("clip", "photograph", "picture") if name in rows), None)
    sources = [str(rows[column].get(path.name, path.name)) if column else path.name for path in split.images]
    if sheets:
        samples = read_samples(Path(sheets), kind, dict(zip(split.images, sources)))
    else:
        samples = kept_samples(root, rows, split.images)
    return Data(str(root), split, medians, kind, sources, samples)


def read_samples(folder, kind, clips):
    """{picture: three arrays of the subjects' levels} from VideoSet's sheets of the size that `kind` names."""
    from common.data import videoset

    size = re.search(r"VideoSet (\d+x\d+)", kind)
    if not size:
        raise UserError(
            f"--sheets {folder}: the dataset's labels are {kind}; expected VideoSet's, as common.prepare does"
        )
    levels = {f"SRC{number:03}": samples for number, samples in videoset.read_samples(folder, size[1]).items()}
    return {path: levels[clip] for path, clip in clips.items() if clip in levels}


def kept_samples(root, rows, pictures):
    """The same from the manifest's `rows` of the split, where common.prepare kept them there."""
    from common.data.tables import read_list

    columns = [f"samples at JND{level}" for level in (1, 2, 3)]
    if not set(columns) <= set(rows):
        return {}
    kept = {path: [rows[column].get(path.name) for column in columns] for path in pictures}
    return {
        path: [read_list(text, 51, f"{root / 'manifest.csv'}: {path.name}: samples") for text in texts]
        for path, texts in kept.items()
        if all(texts)
    }


def compare(data, runs, coded, options):
    """Every prediction of every run, a row each: what common.evaluation.accuracy.measure wants, and where it comes from."""
    import numpy as np
    import pandas as pd

    from common.data import sur
    from common.evaluation import accuracy

    parts, mixtures = [], {}
    for run in runs:
        answers = pd.read_csv(run.result)
        for level in [run.level] if run.level else [1, 2, 3]:
            true = data.split.labels[:, level - 1].astype(float)
            part = pd.DataFrame({"image": [path.name for path in data.split.images], "source": data.sources})
            part.insert(0, "model", run.model)
            part.insert(1, "level", level)
            part = part.assign(true=true, predicted=answers[f"JND{level}"], median=data.medians[level - 1])
            part["coded QP"], part["true QP"] = accuracy.coded_qp(part["predicted"]), accuracy.coded_qp(true)
            mixtures[run.model, level] = accuracy.equal_risk(true, (part["coded QP"] > part["true"]).mean())
            parts.append(part.assign(path=data.split.images))
    table = pd.concat(parts, ignore_index=True)
    wanted = {
        path: {*rows["coded QP"].tolist(), *rows["true QP"].tolist()}
        for path, rows in table.groupby("path", sort=False)
    }
    fixed = {qp for mixture in mixtures.values() if mixture for qp in mixture[:2]}
    quality = coded.measure({path: qps | fixed for path, qps in wanted.items()}, options.jobs)

    def row(one):
        by_qp, si = quality[one["path"]]
        here, there = by_qp[one["coded QP"]], by_qp[one["true QP"]]
        names = {"PSNR": f"psnr {options.psnr}", "SSIM": "ssim", "VMAF": "vmaf"}
        low, high, weight = mixtures[one["model"], one["level"]] or (None, None, np.nan)
        samples = data.samples.get(one["path"])
        return {
            **{name: here[key] - there[key] for name, key in names.items()},
            "bytes": here["bytes"],
            "fixed bytes": (1 - weight) * by_qp[low]["bytes"] + weight * by_qp[high]["bytes"] if low else np.nan,
            "satisfied": sur.satisfied(samples[one["level"] - 1], one["coded QP"]) if samples else np.nan,
            "SI": si,
        }

    rows = pd.DataFrame([row(one) for one in table.to_dict("records")])
    return pd.concat([table.drop(columns="path"), rows], axis=1)
