"""The main job from photographs to a table, on photographs that installed packages bring: python3 -m common.demo

Prepares a dataset, trains the JND1 autoencoder and LAT on it, and tests LAT, each by the command that it prints, so
that you can go on from any of them with pictures of your own.  Everything lies in demo/; a second run reuses what is
done.

The labels are pseudo-labels: a metric (VMAF) chose them, no viewer did.  The weights come from minutes of training on a
dozen photographs: a demonstration, not the papers'.
"""

import importlib.util
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from common.core.errors import UserError
from common.core.files import atomic_write

PHOTOGRAPHS = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "chelsea.png",
            "coffee.png",
            "coins.png",
            "grass.png",
            "gravel.png",
            "hubble_deep_field.jpg",
            "ihc.png",
            "moon.png",
            "motorcycle_left.png",
            "retina.jpg",
            "rocket.jpg",
        ),
    ),
    "matplotlib": ("mpl-data/sample_data", ("grace_hopper.jpg",)),
}
NOTICE = (
    "The labels are pseudo-labels, chosen by VMAF, not by viewers; "
    "the weights are a demonstration, trained for minutes, not the papers'."
)


# Each command, and the file that shows that it has ended well.
STEPS = (
    (
        "-m common.prepare photos {folder}/photographs --data_dir {folder}/rootdir --crops 5 --split 9 2 4 --enlarge",
        "rootdir/manifest.csv",
    ),
    (
        "-m common.reconstruct train --target JND1 --data_dir {folder}/rootdir --checkpoint_path {folder}/weights "
        "--patch 96 160 --epochs 36 --batch_size 8 --learning_rate 5e-4 --overwrite",
        "weights/JND1Reconstruction.h5",
    ),
    (
        "LAT.py train --jnd_value JND1 --data_dir {folder}/rootdir --checkpoint_path {folder}/weights "
        "--csv_log_path {folder}/weights --JND_Recon_Models_Path {folder}/weights "
        "--epochs 16 --batch_size 4 --learning_rate 1e-4 --overwrite",
        "weights/BestModelJND1.h5",
    ),
    (
        "LAT.py test --jnd_value JND1 --data_dir {folder}/rootdir --model_weights_path {folder}/weights "
        "--result_path {folder}/results --JND_Recon_Models_Path {folder}/weights",
        "results/JND1test_results.csv",
    ),
)


def main(arguments=None):
    """Run the steps that are not done yet and print the table; returns the exit code."""
    from common.cli import program

    parser = program.Parser(prog="python3 -m common.demo", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything goes")
    folder = parser.parse_args(arguments).folder
    collect(folder / "photographs")
    run_steps(folder)
    show(folder / "rootdir", folder / "results")
    return 0


def collect(folder):
    """Copy the photographs out of the packages that bring them; a package that is not installed brings none."""
    folder.mkdir(parents=True, exist_ok=True)
    for package, (place, names) in PHOTOGRAPHS.items():
        found = importlib.util.find_spec(package)
        for name in names if found else ():
            source = Path(found.origin).parent / place / name
            if source.is_file() and not (folder / name).is_file():
                shutil.copyfile(source, folder / name)
    if not any(folder.iterdir()):
        raise UserError(f"no photographs found in the packages {', '.join(PHOTOGRAPHS)}; `make setup` installs them")


def run_steps(folder):
    """Run each step as its own program, but for the first ones that ended well here before, word for word."""
    record = folder / "steps.txt"
    done = record.read_text().splitlines() if record.is_file() else []
    for number, (step, output) in enumerate(STEPS):
        arguments = [part.format(folder=folder) for part in step.split()]
        shown = shlex.join(["python3", *arguments])
        if done[number : number + 1] == [shown] and (folder / output).is_file():
            print(f"done before: {shown}")
            continue
        done = done[:number]  # what follows a step that runs again runs again
        print(f"\n$ {shown}", flush=True)
        with subprocess.Popen([sys.executable, *arguments]) as process:
            try:
                code = process.wait()
            except KeyboardInterrupt:  # which the step got as well: let it put away what it has in hand
                process.wait()
                raise
        if code:
            raise UserError(f"the command above ended with code {code}; mend what it says and run this again")
        done.append(shown)
        with atomic_write(record) as temporary:
            temporary.write_text("\n".join(done) + "\n")


def show(root, results):
    """Print the result table with its errors and draw it."""
    import pandas as pd

    from common.data import dataset
    from common.data.levels import median_baseline, qp_mae

    file = results / "JND1test_results.csv"
    table = pd.read_csv(file)
    error = qp_mae(table["JND1"], table["JND1_label"])
    train = dataset.read_splits(root, ("train",), decode=False)[0]["train"].labels[:, 0]
    floor = median_baseline(train, table["JND1_label"])
    shown = table.rename(columns={"image": "picture", "JND1_label": "pseudo-label", "JND1": "prediction"})
    shown["error"] = shown["prediction"] - shown["pseudo-label"]
    print(f"\n{shown[['picture', 'pseudo-label', 'prediction', 'error']].to_string(index=False, float_format='%.1f')}")
    print(f"\nmean absolute error: LAT {error:.2f} QP, always answering the training median {floor:.2f} QP")
    picture = draw(
        table, root / "test", f"LAT {error:.2f} QP, training median {floor:.2f} QP", results / "JND1test_results.png"
    )
    print(f"results: {file}\npicture: {picture}\n{NOTICE}")


def draw(table, folder, title, target):
    """The test pictures with their pseudo-labels and predictions, the worst error last, as a PNG at `target`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    from common.media.images import read_image

    errors = (table["JND1"] - table["JND1_label"]).abs()
    chosen = errors.sort_values().index[np.linspace(0, len(errors) - 1, min(6, len(errors))).astype(int)]
    figure = plt.figure(figsize=(14, 6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.6))
    axes = left.subplots()
    limits = (table[["JND1", "JND1_label"]].min().min() - 1, table[["JND1", "JND1_label"]].max().max() + 1)
    axes.plot(limits, limits, color="0.7", zorder=0)
    axes.scatter(table["JND1_label"], table["JND1"])
    axes.set(xlabel="JND1 pseudo-label (QP)", ylabel="predicted (QP)", xlim=limits, ylim=limits, aspect="equal")
    axes.set_title(f"mean absolute error: {title}", fontsize=10)
    for axes, index in zip(right.subplots(2, 3).flat, chosen):
        row = table.loc[index]
        axes.imshow(read_image(folder / row["image"]))
        axes.set_title(f"{row['image']}\npseudo-label {row['JND1_label']:.0f}, predicted {row['JND1']:.1f}", fontsize=8)
    for axes in right.axes:
        axes.axis("off")
    figure.suptitle(NOTICE, fontsize=9)
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)
    return target


if __name__ == "__main__":
    from common.cli import program

    program.run(main)
