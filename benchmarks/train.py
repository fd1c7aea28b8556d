"""Seconds an epoch of training takes, with and without the features of frozen layers kept: python3 -m benchmarks.train

The set of the released programs' figures: 16 train and 8 valid pictures of 1920x1080, batch 8.  The first epoch, which
starts TensorFlow's graphs, does not count; the median of the others does.
"""

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks import matrix
from benchmarks.predict import collected, make_pictures

MODELS = ("LAT", "MJLAT", "MTJND")


def main():
    """Run the benchmark and print a table."""
    from common.cli import flags, program

    parser = program.Parser(prog="python3 -m benchmarks.train", description=__doc__)
    parser.add_argument("--scripts", nargs="+", default=MODELS, metavar="X", help="such as REC MJREC")
    parser.add_argument("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    parser.add_argument("--epochs", type=flags.positive(int), default=6, help="of each training")
    parser.add_argument("--batch_size", type=flags.positive(int), default=8, help="pictures a training step")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_pictures(options.photographs or collected(folder / "photographs"), folder / "root")
        write_autoencoders(folder)
        print("model | without s/epoch | with s/epoch | times faster")
        for script in options.scripts:
            variant = next(variant for name, variant in matrix.models() if name == script)
            without, kept = (measure(script, variant, folder, cache, options) for cache in ("off", folder / "features"))
            print(f"{variant.name} | {without:.2f} | {kept:.2f} | {without / kept:.1f}", flush=True)
    return 0


def write_autoencoders(folder):
    """The golden tests' autoencoder as all four."""
    from tests.golden import seeded

    for target in ("Img", "JND1", "JND2", "JND3"):
        seeded.write_h5("Reconstruction", folder / f"{target}Reconstruction.h5")


def measure(script, variant, folder, cache, options):
    """The median of the seconds between an epoch's line and the next's."""
    flags = {"data_dir": folder / "root", "checkpoint_path": folder / "weights.h5", "csv_log_path": folder / "log.csv"}
    flags |= {"epochs": options.epochs, "batch_size": options.batch_size, "feature_cache": cache}
    flags |= {variant.backbone.flag.removeprefix("--"): folder if variant.backbone.optional_in_test else "none"}
    command = [*matrix.command(script, "train", variant, **flags), "--overwrite"]
    times = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("epoch "):
                times.append(time.monotonic())
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return statistics.median(after - before for before, after in zip(times, times[1:]))


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
