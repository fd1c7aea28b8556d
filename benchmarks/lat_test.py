"""Time and memory of `LAT.py test` on 1920x1080 PNGs: python3 -m benchmarks.lat_test

The set of the released programs' figures: 16 train, 8 valid and 32 test pictures; then 320 test pictures, which must
not take more memory.  Weights are random: they cost the same.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZE = (1920, 1080)
COUNTS = {"train": 16, "valid": 8, "test": 32}


def main():
    """Run the benchmark and print a table."""
    from common import cli
    from common.programs import load_keras

    parser = argparse.ArgumentParser(
        prog="python3 -m benchmarks.lat_test", description=__doc__, formatter_class=cli.Help
    )
    parser.add_argument("--photographs", type=Path, help="a folder of photographs; by default the demonstration's")
    parser.add_argument("--repeat", type=cli.positive(int), default=3, help="runs of each size; the median counts")
    parser.add_argument("--batch_size", type=cli.positive(int), help="of LAT.py test; by default its own")
    options = parser.parse_args()
    load_keras()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        make_pictures(options.photographs or collected(folder / "photographs"), folder / "32")
        for number in range(320):
            link = folder / "320" / "test" / f"img{number}.png"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(folder / "32" / "test" / f"img{number % 32}.png")
        make_weights(folder)
        print("pictures | wall s (each run) | peak MB")
        for count in (32, 320):
            more = ("--batch_size", str(options.batch_size)) if options.batch_size else ()
            runs = [measure(folder, count, more) for _ in range(options.repeat)]
            seconds, peaks = zip(*sorted(runs))
            median = seconds[len(seconds) // 2]
            print(f"{count:8} | {median:5.1f} ({' '.join(f'{s:.1f}' for s in seconds)}) | {max(peaks):.0f}", flush=True)
    return 0


def collected(folder):
    """The photographs of the demonstration, copied to `folder`."""
    from common.demo import collect

    collect(folder)
    return folder


def make_pictures(photographs, root):
    """Fill ROOT/train, valid and test with 1920x1080 PNGs cut from photographs."""
    from PIL import Image, ImageOps

    from common.dataset import list_pictures, write_levels
    from common.images import read_picture, write_png

    sources = [Image.fromarray(read_picture(path)) for path in list_pictures(photographs)]
    for split, count in COUNTS.items():
        names = [f"img{number}.png" for number in range(count)]
        for number, name in enumerate(names):
            centre = ((number % 5 + 1) / 6, (number % 3 + 1) / 4)
            frame = ImageOps.fit(sources[number % len(sources)], SIZE, Image.Resampling.BICUBIC, centering=centre)
            write_png(root / split / name, np_array(frame))
        write_levels(root / split, names, [(25, 30, 34)] * count)


def np_array(image):
    import numpy as np

    return np.asarray(image)


def make_weights(folder):
    """Random weights for LAT and its autoencoder, in the released layout."""
    import LAT
    from common import weights
    from common.autoencoder import build_autoencoder

    autoencoder = build_autoencoder()
    weights.save(autoencoder, folder / "JND1Reconstruction.h5")
    weights.save(LAT.build_model(autoencoder), folder / "LATJND1.h5")


def measure(folder, count, more):
    """Seconds and peak resident MB of one run."""
    command = [sys.executable, "LAT.py", "test", "--jnd_value", "JND1", "--data_dir", str(folder / str(count))]
    command += ["--model_weights_path", str(folder), "--JND_Recon_Models_Path", str(folder)]
    command += ["--result_path", str(folder / "out"), *more]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.monotonic() - started, usage.ru_maxrss / 1024


if __name__ == "__main__":
    from common import cli

    cli.run(main)
