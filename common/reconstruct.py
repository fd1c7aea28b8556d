"""Train and try the autoencoders: python3 -m common.reconstruct train|test

Four weight files of one network (common/models/autoencoder.py): ImgReconstruction.h5 gives a picture back as it was,
JND1Reconstruction.h5 to JND3Reconstruction.h5 give the frame as it looks coded at that JND level.  LAT, REC and MJ
stand on the JND ones, E2E on the image one.

The programs that trained the papers' files were never released.  Ours: mean squared error on pixel values 0..255, Adam;
the JND autoencoders start from ImgReconstruction.h5 where it lies in --checkpoint_path, as the released files' names
suggest that theirs did.  --patch trains on random patches, many times faster: the network is convolutional, so what it
learns holds for whole frames.
"""

from pathlib import Path

from common.core.errors import UserError
from common.core.files import check_writable, write_csv
from common.core.keras_backend import load_keras
from common.core.threads import prefetch
from common.data import dataset
from common.data.dataset import load_splits
from common.media.images import TCSVT, write_png
from common.models import weight_files
from common.training import devices
from common.training.runs import check_outputs

TARGETS = ("Img", "JND1", "JND2", "JND3")
EPOCHS, BATCH_SIZE, LEARNING_RATE = 300, 8, 1e-4  # ours; the papers name none


def main(arguments=None):
    """Run the command line; returns the exit code."""
    from common.cli import flags, program

    parser = program.Parser(prog="python3 -m common.reconstruct", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    command = commands.add_parser("train", help="train one weight file")
    _common_flags(command)
    command.add_argument("--checkpoint_path", required=True, metavar="R", help="folder for the weights")
    command.add_argument("--csv_log_path", metavar="L", help="folder for the CSV log; by default --checkpoint_path")
    command.add_argument(
        "--start_from",
        metavar="FILE",
        help="weights to start from, or `scratch`; by default R/ImgReconstruction.h5 if it is there",
    )
    command.add_argument(
        "--patch",
        type=flags.positive(int),
        nargs=2,
        metavar=("H", "W"),
        help="train on random patches, multiples of 16, instead of whole frames",
    )
    flags.training_flags(command, epochs=EPOCHS, batch_size=BATCH_SIZE, learning_rate=LEARNING_RATE)

    command = commands.add_parser("test", help="reconstruct ROOT/test; PSNR and SSIM")
    _common_flags(command)
    command.add_argument("--model_weights_path", required=True, metavar="R", help="the file, or a folder that holds it")
    command.add_argument("--result_path", required=True, metavar="OUT", help="folder for pictures and CSV")
    command.add_argument("--batch_size", type=flags.positive(int), default=2, help="pictures reconstructed at once")

    options = parser.parse_args(arguments)
    return {"train": train, "test": test}[options.command](options)


def _common_flags(parser):
    parser.add_argument("--target", choices=TARGETS, required=True, help="what it gives: picture, or JND frame")
    parser.add_argument("--data_dir", required=True, metavar="ROOT", help="the rootdir; JND needs jnd1train/ ...")


def train(options):
    """Train the autoencoder of one target and keep the epoch with the least error on valid."""
    height, width = options.patch or TCSVT.shape[:2]
    if height % 16 or width % 16 or height > TCSVT.height or width > TCSVT.width:
        raise UserError(f"--patch {height} {width}: expected multiples of 16, at most {TCSVT.height} x {TCSVT.width}")
    checkpoint = Path(options.checkpoint_path) / f"{options.target}Reconstruction.h5"
    log = Path(options.csv_log_path or options.checkpoint_path) / f"logs{options.target}Reconstruction.csv"
    label = f"{options.target}Reconstruction"
    check_outputs(options, checkpoint, log, checkpoint.with_name(f"state{label}.npz"))
    start = _start(options, checkpoint)
    splits = load_splits(options.data_dir, ("train", "valid"), labels="ignored")
    frames = {name: _frames(split, options.data_dir, options.target) for name, split in splits.items()}

    load_keras(training=True, cpus=devices.logical_cpus(options.devices))

    from common.models import keras_metrics
    from common.models.autoencoder import build_autoencoder
    from common.training.loop import Training, fit

    print(f"{options.target}Reconstruction starts from {start or 'scratch'}")

    def build():
        autoencoder = build_autoencoder(shape=(height, width, 3))
        if start:
            weight_files.load(autoencoder, start)
        return autoencoder, autoencoder

    best = fit(
        Training(
            f"{options.target}Reconstruction",
            build,
            lambda: {"loss": "mse", "metrics": keras_metrics.image_metrics()},
            {name: split.images for name, split in splits.items()},
            {name: [paths] for name, paths in frames.items()},
            TCSVT,
            checkpoint,
            log,
            label,
            {"mean squared error": ("loss", "val_loss", None)},
            "squared grey levels",
            patch=options.patch,
        ),
        options,
    )
    print(
        f"best epoch {best.epoch} of {options.epochs}: on valid{' patches' if options.patch else ''} "
        f"PSNR {best.logs['val_psnr']:.2f} dB, SSIM {best.logs['val_ssim']:.4f}\nweights: {checkpoint}\nlog: {log}"
    )
    return 0


def test(options):
    """Write each test picture's reconstruction as PNG; where the target frames exist, its PSNR and SSIM beside them."""
    split = load_splits(options.data_dir, ("test",), labels="ignored")["test"]
    file = weight_files.find(options.model_weights_path, [f"{options.target}Reconstruction.h5"], "the autoencoder")
    known = options.target == "Img" or (Path(options.data_dir) / f"{options.target.lower()}test").is_dir()
    frames = _frames(split, options.data_dir, options.target) if known else [None] * len(split.images)

    folder = Path(options.result_path) / f"{options.target}Reconstruction"
    result = folder.with_name(f"{folder.name}_test_results.csv")
    check_writable(result)
    names = [path.with_suffix(".png").name for path in split.images]
    if len(set(names)) < len(names):
        raise UserError(f"{split.folder}: pictures that differ in their suffix only would overwrite each other; rename")

    load_keras()
    import pandas as pd

    from common.media import metrics
    from common.models.autoencoder import build_autoencoder
    from common.models.inference import predict_batches

    autoencoder = build_autoencoder()
    weight_files.load(autoencoder, file)
    rows = []
    with prefetch(TCSVT.load, split.images) as pictures:
        answers = predict_batches(autoencoder, pictures, options.batch_size, len(split), folder.name)
        for path, name, frame, (answer,) in zip(split.images, names, frames, answers):
            picture = TCSVT.to_image(answer)
            write_png(folder / name, picture)
            row = {"image": path.name}
            if frame:
                target = TCSVT.to_image(TCSVT.load(frame))
                row |= {"PSNR": metrics.psnr(target, picture), "SSIM": metrics.ssim(target, picture)}
            rows.append(row)
    table = pd.DataFrame(rows)
    write_csv(table, result)
    print(f"{len(table)} pictures of {split.folder}, weights {file}")
    if known:
        print(
            f"against the {'pictures' if options.target == 'Img' else f'{options.target} frames'}: "
            f"PSNR {table['PSNR'].mean():.2f} dB, SSIM {table['SSIM'].mean():.4f}"
        )
    print(f"reconstructions: {folder}\nresults: {result}")
    return 0


def _frames(split, data_dir, target):
    """The pictures that the autoencoder is to give, one a picture of `split`."""
    if target == "Img":
        return split.images
    return dataset.match_images(split, Path(data_dir) / f"{target.lower()}{split.name}")


def _start(options, checkpoint):
    """The weight file to start from, None for a random start."""
    image = checkpoint.with_name("ImgReconstruction.h5")
    if options.start_from is None:
        return image if options.target != "Img" and image.is_file() else None
    if options.start_from == "scratch":
        return None
    return weight_files.find(options.start_from, ["ImgReconstruction.h5"], "the autoencoder to start from")


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
