"""A trained model on the test images of a rootdir: `test` of the scripts, and of `common.reconstruct`."""

import contextlib
import csv
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.core.errors import UserError
from common.core.files import atomic_write, check_writable
from common.core.messages import note, warn
from common.core.names import composed, file_or_default
from common.core.parallel import batch_map
from common.core.threads import prefetch
from common.data.dataset import Split, list_images, load_splits, match_images
from common.data.layout import LEVELS, Unit, split_folder
from common.data.levels import HIGHEST_QP, describe_baseline, median_baseline, qp_mae
from common.media import metrics
from common.media.formats import InputFormat
from common.media.images import read_input, to_image
from common.models.registry import ModelSpec
from common.models.weight_search import WeightsConfig, find_weights
from common.prediction import networks
from common.prediction.config import ComputeConfig


@dataclass(frozen=True, kw_only=True)
class TestConfig(ComputeConfig, WeightsConfig):
    """How a model is tested; the flags of `test` have the same names.

    Args:
        data_dir: The rootdir with test/, and train/ for the median baseline.
        result_path: Folder for the result CSV, or the file.
        label_unit: Of the labels, "QP" or "QF".
        backbone_weights: Checked where given; the model's own weights hold all that they need.
        plain: Write numbers only, as the released programs: a row an image, a column a level, no header.
    """

    __test__ = False  # no test case, whatever pytest takes its name for

    data_dir: Path
    result_path: Path
    label_unit: Unit = "QP"
    backbone_weights: Path | None = None
    plain: bool = False


def test(spec: ModelSpec, config: TestConfig) -> None:
    """Write the levels that a model predicts for the test images; print its error where they have labels.

    Raises UserError where images, labels, weights or the result's place do not fit.
    """
    root = Path(config.data_dir)
    split = load_splits(root, ("test",), decode=False, labels="optional", unit=config.label_unit)["test"]
    (file,) = find_weights(spec, config.level, config.model_weights_path).values()
    has_levels_only = networks.runtime_format([file], config)
    if spec.backbone:
        spec.backbone.find(config.backbone_weights, config.level, spec.name)
    levels = spec.levels(config.level)
    frames = {}
    for output in spec.at(config.level):
        folder = root / split_folder("test", output.level or "")
        if output.target == "frame" and folder.is_dir() and has_levels_only:
            warn(f"warning: {folder}: an exported network gives no frames; no PSNR, no SSIM")
        elif output.target == "frame" and folder.is_dir() and (matched := match_some(split, folder)):
            frames[output.name] = matched
    result = file_or_default(config.result_path, spec.result_name(config.level))
    if result.exists() and result.suffix != ".csv":
        raise UserError(f"{result}: exists, and is no table of results; give a folder, or a name that ends in .csv")
    check_writable(result)
    qps, quality = [], []
    outputs = [*levels, *frames]
    with predictions(spec, file, split, outputs, config) as predicted:
        try:
            for index, values in enumerate(predicted):
                qps.append([float(value[0]) for value in values[: len(levels)]])
                for paths, image in zip(frames.values(), values[len(levels) :]):
                    if frame := paths.get(split.images[index]):
                        quality.append(compare(spec.input, image, frame))
        except UserError:
            # One image is broken: before giving up, look at all of them, so that all can be mended at once.
            load_splits(root, ("test",), labels="optional", unit=config.label_unit)
            raise
    write_results(result, split, list(levels.values()), qps, config.plain)
    note(f"{len(split)} images of {split.folder}, weights {file}")
    if config.label_unit == "QP" and (beyond := int((np.max(qps, axis=1) > HIGHEST_QP).sum())):
        above = f"{beyond} of {len(split)} images have a prediction above {HIGHEST_QP}, which is no QP"
        warn(f"warning: {file}: {above}; are the weights trained, and on QPs?")
    if quality:
        psnr, ssim = np.mean(quality, axis=0)
        print(f"reconstructed {config.level} frames: PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    if split.labels is not None:
        print_errors(split, list(levels.values()), np.array(qps), root, config.label_unit)
    print(f"results: {result}")


def match_some(split: Split, folder: Path) -> dict[Path, Path]:
    """Return {image: its frame in `folder`} of those that have one, and warn where some have none.

    Raises UserError where a frame is broken or ambiguous.
    """
    present = {composed(path.stem) for path in list_images(folder)}
    images = tuple(image for image in split.images if composed(image.stem) in present)
    if len(images) < len(split):
        rest = "PSNR and SSIM are theirs" if images else "no PSNR, no SSIM"
        warn(f"warning: {folder}: frames of {len(images)} of {len(split)} images; {rest}")
    return dict(zip(images, match_images(replace(split, images=images), folder))) if images else {}


@contextlib.contextmanager
def predictions(
    spec: ModelSpec, file: Path, split: Split, outputs: Sequence[str], config: TestConfig
) -> Iterator[Iterator[tuple[np.ndarray, ...]]]:
    """Give the block an iterator over what the `outputs` of a network are for each image, in order."""
    spec = networks.with_input_of(spec, [file], config)
    load = functools.partial(read_input, form=spec.input)
    with prefetch(load, split.images) as images:  # decoding starts while Keras does
        networks.start_backend([file], config)
        network = networks.open_network(spec, config.level, file, outputs, config)
        batch_size = config.batch_size or network.batch_size(spec.test_batch_size)
        yield batch_map(network, images, batch_size, len(split), spec.name)


def compare(input_format: InputFormat, image: np.ndarray, frame: Path) -> tuple[float, float]:
    """Return PSNR (dB) and SSIM of an image output against the frame in a file."""
    reconstructed, target = (to_image(pixels, input_format) for pixels in (image, read_input(frame, input_format)))
    return metrics.psnr(target, reconstructed), metrics.ssim(target, reconstructed)


def write_results(
    path: Path, split: Split, levels: Sequence[str], qps: Sequence[Sequence[float]], plain: bool = False
) -> None:
    """Write the predicted QPs of a split's images as CSV, a column a level, with the labels where there are some.

    plain: The numbers only.
    """
    rows = [list(row) for row in qps]
    if not plain:
        header, labelled = ["image", *levels], [level for level in levels if level in split.levels]
        rows = [[image.name, *row] for image, row in zip(split.images, rows)]
        if split.labels is not None:
            header += [f"{level}_label" for level in labelled]
            indices = [LEVELS.index(level) for level in labelled]
            rows = [[*row, *labels[indices]] for row, labels in zip(rows, split.labels)]
        rows.insert(0, header)
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows(rows)


def print_errors(split: Split, levels: Sequence[str], qps: np.ndarray, root: Path, unit: Unit) -> None:
    """Print the mean absolute error of each level, with that of always predicting the training median."""
    train, reason = None, ""
    try:
        train = load_splits(root, ("train",), unit=unit, decode=False)["train"]
    except UserError as missing:
        reason = str(missing).splitlines()[0]
    for level, column in zip(levels, qps.T):
        if level not in split.levels:
            print(f"{level}: no labels")
            continue
        index = LEVELS.index(level)
        labels = np.asarray(split.labels)[:, index]
        if train and level in train.levels:
            baseline = describe_baseline(float(median_baseline(np.asarray(train.labels)[:, index], labels)), unit)
        else:
            baseline = f"no training median: {reason or f'train/ has no labels of {level}'}"
        print(f"{level}: mean absolute error {qp_mae(column, labels):.2f} {unit}; {baseline}")
