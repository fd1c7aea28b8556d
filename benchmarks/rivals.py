"""What else finds JND levels: ridge regression on hand-made features, and the search by VMAF that made the labels."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import skimage

from common import load
from common.core.files import write_csv, write_json
from common.core.parallel import parallel_map
from common.core.threads import CORES
from common.data.dataset import Split, load_splits
from common.data.layout import LEVELS, SPLITS
from common.data.levels import HIGHEST_QP, LOWEST_QP, nearest_qp, qp_mae
from common.data.pseudolabels import THRESHOLDS, find_levels
from common.data.tables import MANIFEST, source_column
from common.media import ffmpeg
from common.media.images import read_image

QPS = (22, 32, 42)  # whose sizes are features
PENALTIES = 10.0 ** np.arange(-3, 4)
RIDGES = {"ridge": "", "ridge without encoder": "bytes"}
"""{rival: what the names of the features have in them that it does not see}."""
TIMED = 8  # images whose search is timed
CLOSE = 2.0  # VMAF


def measure(rootdir: Path, folder: Path) -> None:
    """Write predictions of the test split by ridge regression, one file each of RIDGES, and search.json, seconds.

    Files that are there are kept.
    """
    splits, file = load_splits(rootdir, SPLITS, decode=False), folder / "features.csv"
    if not file.is_file():
        rows = [(name, path) for name, split in splits.items() for path in split.images]
        values = parallel_map(lambda row: features(read_image(row[1])), rows, CORES, "image")
        names = {"split": [name for name, _ in rows], "image": [path.name for _, path in rows]}
        write_csv(pd.DataFrame(names).join(pd.DataFrame(values)), file)
    for name, left_out in RIDGES.items():
        if not (folder / f"{name}.csv").is_file():
            table = pd.read_csv(file)
            unseen = [column for column in table if left_out and left_out in column]
            write_csv(ridge(table.drop(columns=unseen), splits), folder / f"{name}.csv")
    if not (folder / "search.json").is_file():
        images = [read_image(path) for path in splits["test"].images[:: max(1, len(splits["test"]) // TIMED)]]
        seconds = {}
        for name, thresholds in (("one level", THRESHOLDS[:1]), ("three levels", THRESHOLDS)):
            started = time.perf_counter()
            for image in images:
                find_levels(image, thresholds)
            seconds[name] = (time.perf_counter() - started) / len(images)
        write_json(folder / "search.json", seconds)


def time_prediction(rootdir: Path, model: str, level: str | None, weights: Path, folder: Path) -> None:
    """Add to search.json the seconds that a network takes an image of the test split, one at a time, once loaded."""
    file = folder / "search.json"
    seconds = json.loads(file.read_text())
    if model in seconds:
        return
    images = load_splits(rootdir, ["test"], decode=False)["test"].images[:TIMED]
    predictor = load(model, level, weights)
    predictor(images[0])
    started = time.perf_counter()
    for image in images:
        predictor(image)
    write_json(file, {**seconds, model: (time.perf_counter() - started) / len(images)})


def features(image: np.ndarray) -> dict[str, float]:
    """A dozen numbers about a uint8 RGB image that are known to say how hard it is to encode."""
    luma = skimage.color.rgb2gray(image) * 255
    red, green, blue = np.moveaxis(image.astype(float), -1, 0)
    opponents = red - green, (red + green) / 2 - blue
    edges, detail = skimage.filters.sobel(luma), skimage.filters.laplace(luma)
    deviation = np.sqrt(np.maximum(skimage.filters.gaussian(luma**2, 3) - skimage.filters.gaussian(luma, 3) ** 2, 0))
    sizes = {qp: len(ffmpeg.encode_intra(image, qp).bitstream) for qp in QPS}
    return {
        "brightness": luma.mean(),
        "contrast": luma.std(),
        "entropy": float(skimage.measure.shannon_entropy(luma.astype(np.uint8))),
        "spatial information": edges.std(),  # ITU-T P.910
        "edges": edges.mean(),
        "detail": np.log(detail.std() + 1),
        # Hasler and Suesstrunk, Human Vision and Electronic Imaging 2003
        "colourfulness": np.hypot(*(o.std() for o in opponents)) + 0.3 * np.hypot(*(o.mean() for o in opponents)),
        "texture": np.log(deviation.mean() + 1),
        "flat share": (deviation < 2).mean(),
        **{f"log bytes at QP {qp}": np.log(size) for qp, size in sizes.items()},
        "fall of bytes": np.log(sizes[QPS[0]] / sizes[QPS[-1]]),
    }


def ridge(table: pd.DataFrame, splits: Mapping[str, Split]) -> pd.DataFrame:
    """Predict the test split by ridge regression on the features and their squares, with the penalty best on valid.

    Returns:
        As `test` writes it: image, JND1, JND1_label ...
    """
    values = table.drop(columns=["split", "image"]).to_numpy()
    train = (table["split"] == "train").to_numpy()
    values = (values - values[train].mean(axis=0)) / values[train].std(axis=0)
    values = np.concatenate([values, values**2, np.ones((len(values), 1))], axis=1)
    parts = {name: values[(table["split"] == name).to_numpy()] for name in splits}
    result = {"image": [path.name for path in splits["test"].images]}
    for number, level in enumerate(LEVELS):
        labels = {name: np.asarray(split.labels)[:, number] for name, split in splits.items()}
        solutions = []
        for penalty in PENALTIES:
            x, mean = parts["train"], labels["train"].mean()
            weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (labels["train"] - mean))
            solutions.append((qp_mae(parts["valid"] @ weights + mean, labels["valid"]), weights, mean))
        _, weights, mean = min(solutions, key=lambda solution: solution[0])
        result |= {level: parts["test"] @ weights + mean, f"{level}_label": labels["test"]}
    return pd.DataFrame(result)


def encode_at_predictions(rootdir: Path, predictions: Path, folder: Path) -> None:
    """Write encoded.csv: the first test crop of each photograph, encoded at its predicted JND1 QP.

    Columns: image; predicted, the whole QP; VMAF and bytes there; `QP close`, the highest QP whose VMAF is at most
    CLOSE below the target; fixed, the highest QP for all that keeps as many images there; fixed VMAF, fixed bytes.
    """
    file = folder / "encoded.csv"
    if file.is_file() and file.stat().st_mtime > predictions.stat().st_mtime:
        return
    manifest, table = pd.read_csv(rootdir / MANIFEST), pd.read_csv(predictions)
    first = manifest.loc[manifest["split"] == "test"].drop_duplicates(source_column(manifest))
    table = table.loc[table["image"].isin(first["image"])]
    lowest = THRESHOLDS[0] - CLOSE

    def encode(row):
        image = read_image(rootdir / "test" / row["image"])
        qp = nearest_qp(row["JND1"], clip=True)
        (close,), _ = find_levels(image, [lowest])
        encoded = ffmpeg.encode_intra(image, qp, with_vmaf=True)
        return {"predicted": qp, "VMAF": encoded.vmaf, "bytes": len(encoded.bitstream), "QP close": close}

    rows = pd.DataFrame(parallel_map(encode, table.to_dict("records"), CORES, "image"))
    # One QP for all that keeps as large a share of the images at or above the lowest VMAF.
    share = (rows["predicted"] <= rows["QP close"]).mean()
    shares = {qp: (qp <= rows["QP close"]).mean() for qp in range(LOWEST_QP, HIGHEST_QP + 1)}
    fixed = max((qp for qp in shares if shares[qp] >= share), default=LOWEST_QP)

    def encode_fixed(name):
        encoded = ffmpeg.encode_intra(read_image(rootdir / "test" / name), fixed, with_vmaf=True)
        return {"fixed": fixed, "fixed VMAF": encoded.vmaf, "fixed bytes": len(encoded.bitstream)}

    others = pd.DataFrame(parallel_map(encode_fixed, list(table["image"]), CORES, "image"))
    write_csv(pd.concat([table[["image"]].reset_index(drop=True), rows, others], axis=1), file)
