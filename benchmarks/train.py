"""Seconds that an epoch of training takes, without and with the feature cache: python3 -m benchmarks.train

The set of the released programs' figures: 16 train and 8 valid images of 1920x1080, batch 8.  The first epoch starts
TensorFlow's graphs and does not count; the median of the others does.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import matrix
from benchmarks.inputs import make_rootdir, photographs, write_autoencoders
from common.cli import flags, program
from common.core.errors import UserError
from common.models.registry import ModelSpec, get_model, list_models

SCRIPTS = ("LAT", "MJLAT", "MTJND")


def main() -> int:
    """Run the benchmark and print a table."""
    parser = program.Parser(prog="python3 -m benchmarks.train", description=__doc__)
    count = flags.COUNT
    parser.add_argument("--scripts", nargs="+", default=SCRIPTS, metavar="X", help="such as REC MJREC")
    parser.add_argument("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    parser.add_argument("--epochs", type=count, default=6, help="of each training")
    parser.add_argument("--batch_size", type=count, default=8, help="images a training step")
    options = parser.parse_args()
    specs = {Path(spec.script).stem: spec for spec in map(get_model, reversed(list_models()))}  # a script's first
    if unknown := set(options.scripts) - set(specs):
        raise UserError(
            f"--scripts {' '.join(sorted(unknown))}: no such script; expected some of {' '.join(reversed(specs))}"
        )
    settings = {"epochs": options.epochs, "batch_size": options.batch_size}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_rootdir(photographs(options.photographs, folder / "photographs"), folder / "root")
        write_autoencoders(folder)
        print("model | without s/epoch | with s/epoch | times faster")
        for spec in (specs[script] for script in options.scripts):
            without, cached = (measure(spec, folder, cache, settings) for cache in ("off", folder / "features"))
            print(f"{spec.name} | {without:.2f} | {cached:.2f} | {without / cached:.1f}", flush=True)
    return 0


def measure(spec: ModelSpec, folder: Path, cache: str | Path, settings: Mapping[str, Any]) -> float:
    """The median of the seconds between two epochs' lines."""
    backbone = {}
    if spec.backbone:
        backbone = {spec.backbone.flag.removeprefix("--"): folder if spec.backbone.optional_in_test else "none"}
    paths = {"data_dir": folder / "root", "checkpoint_path": folder / "weights.h5", "csv_log_path": folder / "log.csv"}
    command = matrix.script_command(spec, "train", feature_cache=cache, **paths, **backbone, **settings)
    times = []
    with subprocess.Popen([*command, "--overwrite"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("epoch "):
                times.append(time.monotonic())
    if process.returncode:
        raise UserError(f"{' '.join(command)}: exit code {process.returncode}")
    return statistics.median(after - before for before, after in zip(times, times[1:]))


if __name__ == "__main__":
    program.run(main)
