# PYTHON_ARGCOMPLETE_OK
"""Train and try the autoencoders: python3 -m common.reconstruct train|test

Four weight files of one network (common/models/autoencoder.py): ImgReconstruction.h5 reconstructs the image itself,
JND1Reconstruction.h5 to JND3Reconstruction.h5 the frame as it looks coded at that JND level.  LAT, REC and MJ are built
on the JND ones, E2E on the image one.

The programs that trained the papers' files were never released.  Ours: mean squared error on pixel values 0..255, Adam;
the JND autoencoders start from ImgReconstruction.h5 where it lies in --checkpoint_path, as the released files' names
suggest that theirs did.  --patch trains on random patches, many times faster: the network is convolutional, so what it
learns holds for whole frames.
"""

from pathlib import Path
from typing import Any

from common.cli.flags import BATCH_SIZE, COUNT, groups, training_flags
from common.cli.program import Parser, config_from, run
from common.core import startup
from common.core.errors import UserError
from common.core.files import check_writable, write_csv
from common.core.messages import note
from common.data.dataset import load_splits, match_images
from common.data.layout import split_folder
from common.media.formats import TCSVT
from common.media.images import to_image, write_png
from common.models import weight_search
from common.models.autoencoder import TARGETS, Defaults, autoencoder_spec
from common.models.dct_start import start_from_dct
from common.models.registry import ModelSpec
from common.prediction.testing import TestConfig, compare, predictions
from common.training.config import TrainingConfig
from common.training.train import train


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    train_example = "--target JND1 --data_dir ROOT/ --checkpoint_path R/"
    test_example = "--target JND1 --data_dir ROOT/ --model_weights_path R/ --result_path OUT/"
    parser = Parser([f"train {train_example}"], prog="python3 -m common.reconstruct", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    text, examples = "train one weight file", [train_example, f"{train_example} --patch 96 160"]
    command = commands.add_parser("train", help=text, description="Train one weight file.", examples=examples)
    needs, writes, computes, rare = groups(command)
    _common_flags(needs)
    text = "folder for the weights"
    writes.add_argument("--checkpoint_path", type=Path, required=True, metavar="R", help=text)
    text = "folder for the CSV log (default: R, where the weights are)"
    writes.add_argument("--csv_log_path", metavar="L", help=text)
    text = (
        "weights to start from: a file, `dct` (a block transform, see docs/training.md), or `scratch` (random) "
        "(default: R/ImgReconstruction.h5 if it is there and another file is trained, else dct)"
    )
    computes.add_argument("--start_from", metavar="FILE", help=text)
    text = "train on random patches of this size, multiples of 16, instead of whole frames"
    computes.add_argument("--patch", type=COUNT, nargs=2, metavar=("H", "W"), help=text)
    training_flags(writes, computes, rare, Defaults())

    text = "Reconstruct ROOT/test; PSNR and SSIM."
    command = commands.add_parser(
        "test", help="reconstruct ROOT/test; PSNR and SSIM", description=text, examples=[test_example]
    )
    needs, writes, computes, _ = groups(command)
    _common_flags(needs)
    text = "the file, or a folder that holds it"
    needs.add_argument("--model_weights_path", required=True, metavar="R", help=text)
    text = "folder for images and CSV"
    writes.add_argument("--result_path", type=Path, required=True, metavar="OUT", help=text)
    text = BATCH_SIZE.format("reconstructed", 2)
    computes.add_argument("--batch_size", type=COUNT, metavar="N", help=text)

    options = parser.parse_args(arguments)
    if options.command == "train":
        _check_patch(options.patch)
        start = find_start(options.start_from, options.checkpoint_path, options.target)
        spec = autoencoder_spec(options.target, start_from_dct if start == "dct" else None)
        file = start if isinstance(start, Path) else None
        if not file:  # else `train` says it
            note(f"starts from: {start}")
        checkpoint = options.checkpoint_path / spec.weights
        startup.outlive_readers()
        train(spec, config_from(TrainingConfig, options, checkpoint_path=checkpoint, start_from=file))
    else:
        spec = autoencoder_spec(options.target)
        test(spec, config_from(TestConfig, options, level=spec.outputs[0].level))
    return 0


def _common_flags(needs: Any) -> None:
    text = "Img: the image itself; JND1 to JND3: the frame coded at that level"
    needs.add_argument("--target", choices=TARGETS, required=True, help=text)
    text = "the dataset; JND1 needs the images coded at that level too, such as jnd1train/"
    needs.add_argument("--data_dir", type=Path, required=True, metavar="ROOT", help=text)


def _check_patch(patch: list[int] | None) -> None:
    height, width = patch or TCSVT.shape[:2]
    if height % 16 or width % 16 or height > TCSVT.height or width > TCSVT.width:
        raise UserError(f"--patch {height} {width}: expected multiples of 16, at most {TCSVT.height} x {TCSVT.width}")


def find_start(start_from: str | None, folder: Path, target: str) -> Path | str:
    """The weight file to start from, or "dct" or "scratch"."""
    image = folder / "ImgReconstruction.h5"
    if start_from is None:
        return image if target != "Img" and image.is_file() else "dct"
    if start_from in ("dct", "scratch"):
        return start_from
    names = [image.name] if Path(start_from).is_dir() else [f"{target}Reconstruction.h5" for target in TARGETS]
    return weight_search.find(start_from, names, "the autoencoder to start from")


def test(spec: ModelSpec, config: TestConfig) -> None:
    """Write each test image's reconstruction as PNG; where the target frames exist, a CSV of its PSNR and SSIM."""
    (output,) = spec.outputs
    data_dir = config.data_dir
    split = load_splits(data_dir, ("test",), labels="ignored")["test"]
    file = weight_search.find(config.model_weights_path, [spec.weights], "the autoencoder")
    frames = split.images
    if output.target == "frame":
        folder = data_dir / split_folder("test", output.level or "")
        frames = match_images(split, folder) if folder.is_dir() else [None] * len(split)

    folder = config.result_path / spec.name
    result = folder.with_name(f"{spec.name}_test_results.csv")
    check_writable(result)
    names = [path.with_suffix(".png").name for path in split.images]
    if len(set(names)) < len(names):
        raise UserError(f"{split.folder}: images that differ in their suffix only would overwrite each other; rename")
    rows = []
    with predictions(spec, file, split, [output.name], config) as predicted:
        for path, name, frame, (pixels,) in zip(split.images, names, frames, predicted):
            write_png(folder / name, to_image(pixels, spec.input))
            rows.append({"image": path.name})
            if frame:
                rows[-1]["PSNR"], rows[-1]["SSIM"] = compare(spec.input, pixels, frame)
    import pandas as pd

    table = pd.DataFrame(rows)
    write_csv(table, result)
    note(f"{len(table)} images of {split.folder}, weights {file}")
    if "PSNR" in table:
        against = "images" if output.target == "image" else f"{output.level} frames"
        print(f"against the {against}: PSNR {table['PSNR'].mean():.2f} dB, SSIM {table['SSIM'].mean():.4f}")
    print(f"reconstructions: {folder}\nresults: {result}")


if __name__ == "__main__":
    run(main)
