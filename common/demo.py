# PYTHON_ARGCOMPLETE_OK
"""The main job from photographs to a page of results, on photographs that installed packages contain:

    python3 -m common.demo

Prepares a dataset, trains the JND1 autoencoder and LAT on it, tests LAT, and writes a page that shows the images coded
at the predicted levels; on a desktop it opens in the browser.  Each step prints its command, so that you can go on from
any of them with images of your own.  Everything lies in demo/; a second run keeps the steps that are complete.

The labels are pseudo-labels: a metric (VMAF) chose them, no viewer did.  The weights come from minutes of training on a
dozen photographs: they are a demonstration, not the papers'.
"""

import importlib.util
import os
import shlex
import shutil
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from common.cli import program
from common.cli.flags import groups
from common.core import stopping
from common.core.errors import UserError
from common.core.files import write_text
from common.core.messages import note
from common.core.processes import run_python

PHOTOGRAPHS = {
    "skimage": (
        "data",
        "astronaut.png brick.png camera.png cell.png chelsea.png coffee.png coins.png grass.png gravel.png "
        "hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png retina.jpg rocket.jpg",
    ),
    "matplotlib": ("mpl-data/sample_data", "grace_hopper.jpg"),
}
"""{package: (folder in it, names of photographs)}."""

NOTICE = (
    "The labels are pseudo-labels, chosen by VMAF, not by viewers; "
    "the weights are a demonstration, trained for minutes, not the papers'."
)

PAGE = Path("evaluation", "index.html")  # in the demonstration's folder

NEXT = """
What you have seen: photographs were cut into crops and labelled; LAT learned from {train} of them, and then predicted
the JND1 level of {test} crops of photographs that it had not seen.
{verdict}

What to do next:
  your own image     python3 LAT.py predict IMAGE.jpg --model_weights_path {weights}
  your own data      docs/own-data.md, docs/train.md, then docs/training.md: what to expect
  the papers' models python3 -m common.weights fetch
"""

STEPS = (
    (
        "-m common.prepare photos {folder}/photographs --data_dir {folder}/rootdir --crops 6 --split 9 2 6 --enlarge",
        "rootdir/manifest.csv",
    ),
    (
        "-m common.reconstruct train --target JND1 --data_dir {folder}/rootdir --checkpoint_path {folder}/weights "
        "--patch 96 160 --epochs 4 --batch_size 4 --learning_rate 1e-5 --overwrite",
        "weights/JND1Reconstruction.h5",
    ),
    (
        "LAT.py train --jnd_value JND1 --data_dir {folder}/rootdir --checkpoint_path {folder}/weights "
        "--csv_log_path {folder}/weights --JND_Recon_Models_Path {folder}/weights "
        "--epochs 40 --batch_size 4 --learning_rate 1e-4 --decay cosine --settle 10 --augment flips --overwrite",
        "weights/BestModelJND1.h5",
    ),
    (
        "LAT.py test --jnd_value JND1 --data_dir {folder}/rootdir --model_weights_path {folder}/weights "
        "--result_path {folder}/results --JND_Recon_Models_Path {folder}/weights",
        "results/JND1test_results.csv",
    ),
    (
        "-m common.evaluate --data_dir {folder}/rootdir --weights {folder}/weights --output {folder}/evaluation",
        "evaluation/README.md",
    ),
)
"""(command, the file that it writes last) of each step."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps that are not complete yet, print the table and name the page; return the exit code."""
    parser = program.Parser(["", "--folder try/"], prog="python3 -m common.demo", description=__doc__)
    _, writes, *_ = groups(parser)
    writes.add_argument("--folder", type=Path, default=Path("demo"), help="where everything goes")
    folder = parser.parse_args(arguments).folder
    collect(folder / "photographs")
    with stopping.keeping(f"{folder}; the same command does the steps that are missing"):
        run_steps(folder)
        show(folder)
    if sys.stdout.isatty() and has_desktop():
        webbrowser.open((folder / PAGE).resolve().as_uri())
    return 0


def has_desktop() -> bool:
    """Say whether a browser can open a window here, and a person sees it."""
    if os.environ.get("CI") or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def collect(folder: Path) -> None:
    """Copy the photographs of all packages that are installed."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, (place, names) in PHOTOGRAPHS.items():
        module = importlib.util.find_spec(package)
        if module is None or module.origin is None:
            continue
        for name in names.split():
            source = Path(module.origin).parent / place / name
            if source.is_file() and not (folder / name).is_file():
                shutil.copyfile(source, folder / name)
    if not any(folder.iterdir()):
        raise UserError(f"no photographs found in the packages {', '.join(PHOTOGRAPHS)}; `make setup` installs them")


def run_steps(folder: Path) -> None:
    """Run each step, except the first ones that an earlier run completed with the same commands."""
    record = folder / "steps.txt"
    complete = record.read_text().splitlines() if record.is_file() else []
    for number, (step, output) in enumerate(STEPS):
        arguments = [part.format(folder=folder) for part in step.split()]
        command = shlex.join(["python3", *arguments])
        if complete[number : number + 1] == [command] and (folder / output).is_file():
            note(f"done before: {command}")
            continue
        complete = complete[:number]  # what follows a step that runs again runs again
        note(f"\n$ {command}")
        code = run_python(*arguments)
        if code:
            raise UserError(f"the command above ended with code {code}; mend what it says and run this again")
        complete.append(command)
        write_text(record, "\n".join(complete) + "\n")


def show(folder: Path) -> None:
    """Print the result table with its errors, and what it says.  folder: that of the demonstration."""
    import pandas as pd

    from common.evaluation.accuracy import measure_levels

    file = folder / "results" / "JND1test_results.csv"
    table = pd.read_csv(file).rename(columns={"JND1_label": "pseudo-label", "JND1": "prediction"})
    table = table[["image", "pseudo-label", "prediction"]]
    table["error"] = table["prediction"] - table["pseudo-label"]
    manifest = pd.read_csv(folder / STEPS[0][1]).set_index("image")
    train = manifest["JND1"].to_numpy()[manifest["split"] == "train"]
    source = manifest.loc[table["image"], "photograph"].to_numpy()
    measured = measure_levels(table["prediction"], table["pseudo-label"], float(np.median(train)), source)
    error, baseline = measured["MAE"], measured["floor"]
    print(f"\n{table.to_string(index=False, float_format='%.1f')}")
    print(f"\nmean absolute error: LAT {error:.2f} QP, always predicting the training median {baseline:.2f} QP")
    print(f"results: {file}\n{NOTICE}")
    verdict = "Whether it has learned, so few photographs do not show."
    if "skill low" in measured:
        skill, low, high = (100 * measured[name] for name in ("skill", "skill low", "skill high"))
        verdict = f"Its error is {skill:.0f} % smaller than the median's (95 %: {low:.0f} to {high:.0f}): "
        verdict += "it has learned." if low > 0 else "with so few photographs, that may be chance."
    weights = folder / "weights" / "BestModelJND1.h5"
    note(NEXT.format(train=len(train), test=len(table), verdict=verdict, weights=weights))
    print(f"The page with all results, and each image beside its coded version: {folder / PAGE}")


if __name__ == "__main__":
    program.run(main)
