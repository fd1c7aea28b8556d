"""`test`: a model on the test images of a rootdir."""

from pathlib import Path

from common.core import threads
from common.core.errors import UserError
from common.core.files import check_writable, file_in, write_csv
from common.core.keras_backend import load_keras
from common.data import dataset
from common.data.dataset import load_splits
from common.data.levels import describe_baseline, median_baseline, qp_mae
from common.models import weight_files
from common.models.build import build, find_backbones


def test(variant, options):
    """Write the levels that `variant` predicts for a rootdir's test pictures, and its error where they have labels."""
    level, outputs, root = options.level, variant.level_outputs(options.level), Path(options.data_dir)
    how = {"labels": "optional", "unit": options.label_unit}
    split = load_splits(root, ("test",), decode=False, **how)["test"]
    file = weight_files.find(options.model_weights_path, variant.weight_names(level), variant.name)
    backbone_files = find_backbones(variant, options)
    frames = None
    if variant.image_output and (root / f"jnd{level}test").is_dir():
        frames = dataset.match_images(split, root / f"jnd{level}test")
    result = file_in(options.result_path, variant.result_name(level))
    check_writable(result)
    answers, quality = [], []
    with threads.prefetch(variant.input.load, split.images) as pictures:  # decoding starts while Keras does
        load_keras()
        from common.models.inference import for_prediction, predict_batches

        model = build(variant, level, backbone_files)
        weight_files.load(model, file)
        wanted = [*outputs, variant.image_output] if frames else list(outputs)
        network = for_prediction(model, wanted, options.precision)
        try:
            for index, answer in enumerate(
                predict_batches(network, pictures, options.batch_size, len(split), variant.name)
            ):
                answers.append([float(value[0]) for value in answer[: len(outputs)]])
                if frames:
                    quality.append(compare(variant.input, answer[-1], frames[index]))
        except UserError:
            # One picture is bad: before giving up, look at all of them, so that all can be mended at once.
            load_splits(root, ("test",), **how)
            raise
    write_results(result, split, outputs.values(), answers)
    print(f"{len(split)} pictures of {split.folder}, weights {file}")
    if quality:
        psnr, ssim = (sum(column) / len(quality) for column in zip(*quality))
        print(f"reconstructed JND{level} frames: PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    if split.labels is not None:
        print_errors(split, outputs.values(), answers, options)
    print(f"results: {result}")
    return 0


def compare(input_format, image, frame):
    """PSNR (dB) and SSIM of an image output against the frame in a file."""
    from common.media import metrics

    reconstructed, target = (input_format.to_image(pixels) for pixels in (image, input_format.load(frame)))
    return metrics.psnr(target, reconstructed), metrics.ssim(target, reconstructed)


def write_results(path, split, levels, answers):
    """Write the levels of a split's pictures as CSV, a column a level, beside their labels where there are some."""
    import pandas as pd

    columns = [f"JND{level}" for level in levels]
    table = pd.DataFrame(answers, columns=columns)
    table.insert(0, "image", [picture.name for picture in split.images])
    if split.labels is not None:
        for level in levels:
            table[f"JND{level}_label"] = split.labels[:, level - 1]
    write_csv(table, path)


def print_errors(split, levels, answers, options):
    """Print each level's mean absolute error, beside that of always answering the training median."""
    import numpy as np

    try:
        known = dataset.read_splits(options.data_dir, ("train",), unit=options.label_unit, decode=False)[0]["train"]
    except UserError as missing:
        known, reason = None, str(missing).splitlines()[0]
    for level, column in zip(levels, np.transpose(answers)):
        asked = split.labels[:, level - 1]
        floor = f"no training median: {reason}" if known is None else ""
        if known:
            floor = describe_baseline(median_baseline(known.labels[:, level - 1], asked), options.label_unit)
        print(f"JND{level}: mean absolute error {qp_mae(column, asked):.2f} {options.label_unit}; {floor}")
