"""The proof that the models predict: python3 -m benchmarks.learning --photographs DIR... --output results/learning/

From folders of photographs it makes a dataset with pseudo-labels by VMAF, split by photograph; trains the autoencoders,
the models of both papers and a control, whose training labels are shuffled; lets each predict the test photographs; and
writes report/ with the table, the curves and every command.

Everything lies in --output.  What is complete is kept, what was stopped goes on, so that the experiment can run for a
night or in pieces: --runs takes some of the trainings, --hours ends each after that time.

    python3 -m benchmarks.learning --photographs DIR --output OUT --runs Img JND1 "LAT JND1" --hours 0.5
"""

import json
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import learning_report, rivals
from common import demo, reconstruct
from common.cli import program
from common.cli.flags import COUNT, POSITIVE, setting_flag
from common.core.errors import UserError
from common.core.processes import run_python
from common.data.dataset import load_splits
from common.data.labels import write_labels
from common.data.layout import LABEL_FILE, SPLITS
from common.media.formats import IMAGE_SUFFIXES
from common.models.registry import ModelSpec, get_model
from common.training.config import TrainingConfig, TrainingFiles

SHARES = ("0.7", "0.12", "0.18")  # of the photographs for train, valid and test
COMMON = {"batch_size": 8, "decay": "cosine"}
LATENT = {**COMMON, "learning_rate": 1e-3, "weight_decay": 0.1, "epochs": 16, "settle": 4, "augment": "shifts"}
DEEP = {**COMMON, "learning_rate": 1e-4, "epochs": 30, "augment": "shifts"}
SETTLED = {**DEEP, "settle": 4}  # of networks with BatchNormalization
PATCHES = {**COMMON, "learning_rate": 1e-4, "epochs": 8, "augment": "flips", "patch": (128, 160)}


@dataclass(frozen=True)
class Run:
    """One training of the experiment.

    Args:
        name: as --runs has it, such as "LAT JND1".
        model: the name in the registry, or "autoencoder".
        level: "Img" or "JND1" to "JND3"; None for a model that predicts all.
        settings: {flag of `train`: value}.
        shuffled: whether the training labels are shuffled, so that there is nothing to learn.
    """

    name: str
    model: str
    level: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    shuffled: bool = False

    @property
    def spec(self) -> ModelSpec:
        return reconstruct.autoencoder_spec(self.level or "") if self.is_autoencoder else get_model(self.model)

    @property
    def is_autoencoder(self) -> bool:
        return self.model == "autoencoder"


RUNS = (
    *(Run(target, "autoencoder", target, PATCHES) for target in reconstruct.TARGETS),
    *(Run(f"LAT {level}", "LAT", level, LATENT) for level in ("JND1", "JND2", "JND3")),
    Run("LAT JND1 shuffled", "LAT", "JND1", LATENT, shuffled=True),
    Run("MJ-LAT", "MJ-LAT", None, LATENT),
    Run("REC", "REC", "JND1", SETTLED),
    Run("E2E-LAT", "E2E-LAT", "JND1", SETTLED),
    Run("E2E-REC", "E2E-REC", "JND1", SETTLED),
    Run("MJ-REC", "MJ-REC", None, SETTLED),
    Run("MT_3LJND", "MT_3LJND", None, DEEP),
    Run("MT_1LJND_VA", "MT_1LJND_VA", "JND1", DEEP),
    Run("MT_3LJND_VA", "MT_3LJND_VA", None, DEEP),
)
"""In the order in which they are made: the autoencoders first, which the others are built on."""


@dataclass(frozen=True)
class Experiment:
    """Where everything lies."""

    output: Path

    @property
    def rootdir(self) -> Path:
        return self.output / "rootdir"

    @property
    def autoencoders(self) -> Path:
        return self.output / "autoencoders"

    @property
    def examples(self) -> Path:
        """A folder with test/ like a rootdir, of packages' photographs, and their reconstructions."""
        return self.output / "examples"

    def folder(self, run: Run) -> Path:
        """The folder of a run's weights, log and record."""
        return self.autoencoders if run.is_autoencoder else self.output / "models" / run.name.replace(" ", "_")

    def files(self, run: Run) -> TrainingFiles:
        """Where the run's training writes."""
        level = None if run.level == "Img" else run.level
        config = TrainingConfig(data_dir=self.rootdir, checkpoint_path=self.folder(run), level=level)
        return TrainingFiles.of(run.spec, config)

    def record(self, run: Run) -> dict[str, Any]:
        """What the run's training wrote down, {} before there is anything."""
        try:
            return json.loads(self.files(run).sibling("run", ".json").read_text())
        except FileNotFoundError:
            return {}

    def result(self, run: Run) -> Path:
        """The CSV file of the test split: predictions, or of an autoencoder PSNR and SSIM."""
        if run.is_autoencoder:
            return self.output / "reconstructions" / f"{run.spec.name}_test_results.csv"
        return self.folder(run) / "test.csv"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing of the experiment and write the report; returns the exit code."""
    names = [run.name for run in RUNS]
    parser = program.Parser(prog="python3 -m benchmarks.learning", description=__doc__)
    parser.add_argument("--photographs", type=Path, nargs="+", required=True, metavar="DIR", help="folders of them")
    parser.add_argument("--output", type=Path, required=True, metavar="OUT", help="where everything goes")
    parser.add_argument("--runs", nargs="*", choices=names, default=names, metavar="RUN", help=", ".join(names))
    parser.add_argument("--crops", type=COUNT, default=4, metavar="N", help="of each photograph (default: 4)")
    parser.add_argument("--hours", type=POSITIVE, help="end each training after this time; it can go on later")
    parser.add_argument(
        "--input_size",
        type=COUNT,
        nargs=2,
        metavar=("H", "W"),
        help="what the networks of these --runs see, smaller than the papers': for slow machines",
    )
    parser.add_argument("--epochs", type=COUNT, help="of each of these --runs, in place of the recipe's")
    setting_flag(parser, "precision", "number format of these --runs; the errors are those of float32")
    parser.set_defaults(precision=None)  # that of a training that goes on
    options = parser.parse_args(arguments)
    experiment = Experiment(options.output)
    make_dataset(options.photographs, experiment, options.crops)
    for run in RUNS:
        if run.name in options.runs:
            changes = {"epochs": options.epochs, "precision": options.precision}
            if not run.is_autoencoder:
                changes["input_size"] = options.input_size
            train(run, experiment, options.hours, {name: value for name, value in changes.items() if value})
            if experiment.files(run).checkpoint.is_file():
                predict(run, experiment)
    folder, lats = experiment.output / "rivals", [run for run in RUNS if run.model == "LAT"]
    rivals.measure(experiment.rootdir, folder)
    if trained := [run for run in lats if experiment.files(run).checkpoint.is_file()]:
        lat = trained[0]  # of any level: they take the same time
        rivals.time_prediction(experiment.rootdir, "LAT", lat.level, experiment.files(lat).checkpoint, folder)
    if (jnd1 := experiment.result(lats[0])).is_file():
        rivals.encode_at_predictions(experiment.rootdir, jnd1, folder)
    learning_report.write(experiment, RUNS, experiment.output / "report")
    return 0


def make_dataset(folders: Sequence[Path], experiment: Experiment, crops: int) -> None:
    """Make the rootdir with pseudo-labels and attention maps, and a copy of it whose training labels are shuffled."""
    photographs = experiment.output / "photographs"
    photographs.mkdir(parents=True, exist_ok=True)
    if len({folder.name for folder in folders}) < len(folders):
        raise UserError(f"--photographs {' '.join(map(str, folders))}: two folders of one name; rename one")
    for folder in folders:
        found = [path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
        if not found:
            raise UserError(f"{folder}: no photographs; expected files ending in {' '.join(sorted(IMAGE_SUFFIXES))}")
        for path in found:
            name = photographs / f"{folder.name}-{path.relative_to(folder).as_posix().replace('/', '-')}"
            if not name.exists():
                name.symlink_to(path.resolve())
    settings = ("--crops", crops, "--split", *SHARES, "--enlarge")
    _run("-m", "common.prepare", "photos", photographs, "--data_dir", experiment.rootdir, *settings, accept=(0, 1))
    if not (experiment.rootdir / "vavalid").is_dir():
        _run("-m", "common.prepare", "attention", "--data_dir", experiment.rootdir)
    shuffle_labels(experiment.rootdir, experiment.output / "shuffled")


def shuffle_labels(rootdir: Path, shuffled: Path) -> None:
    """Link the images of `rootdir` into `shuffled`, with the training labels in another order; valid keeps its own."""
    if (shuffled / SPLITS[1] / LABEL_FILE).is_file():  # written last
        return
    for name, split in load_splits(rootdir, SPLITS[:2], labels="required").items():
        shutil.rmtree(shuffled / name, ignore_errors=True)  # a killed run left it
        (shuffled / name).mkdir(parents=True)
        for path in split.images:
            (shuffled / name / path.name).symlink_to(path.resolve())
        labels = np.asarray(split.labels)
        if name == "train":
            labels = np.random.default_rng(0).permutation(labels)
        write_labels(shuffled / name, [path.name for path in split.images], labels)


def train(run: Run, experiment: Experiment, hours: float | None, changes: dict[str, Any]) -> None:
    """Train, or go on with a training that did not finish, for at most `hours`."""
    before = experiment.record(run)
    # A rate that falls until an epoch cannot go on with another, nor a training with another size or precision.
    fixed = ("epochs", "input_size", "precision")
    began = {name: value for name, value in before.get("arguments", {}).items() if name in fixed}
    settings = {**run.settings, **{name: value for name, value in began.items() if value}, **changes}
    if "settle" in settings:  # a short training, too, learns before it settles
        settings["settle"] = min(settings["settle"], settings["epochs"] // 2)
    if before.get("status") == "finished" and settings["epochs"] <= began["epochs"]:
        print(f"{run.name}: trained before")
        return
    folder, flags = experiment.folder(run), []
    for name, value in settings.items():
        flags += [f"--{name}", *(value if isinstance(value, tuple | list) else [value])]
    root = experiment.output / "shuffled" if run.shuffled else experiment.rootdir
    command = [*_program(run), "train", *_choice(run), "--data_dir", root, "--checkpoint_path", folder]
    if not run.is_autoencoder:
        command += ["--csv_log_path", folder, "--feature_cache", experiment.output / "features"]
        command += _backbone(run, experiment)
    command += [*flags, "--resume"]
    print(f"\n$ python3 {shlex.join(map(str, command))}", flush=True)
    try:
        code = run_python(*command, seconds=hours and hours * 3600)
    except subprocess.TimeoutExpired:
        print(f"\n{run.name}: {hours:g} hours are over; the same command goes on", flush=True)
        return
    if code:
        raise UserError(f"the command above ended with code {code}; mend what it says and run this again")


def predict(run: Run, experiment: Experiment) -> None:
    """Run the network on the test split, unless the result is newer than the weights."""
    weights, result = experiment.files(run).checkpoint, experiment.result(run)
    if result.is_file() and result.stat().st_mtime > weights.stat().st_mtime:
        return
    command = [*_program(run), "test", *_choice(run), "--data_dir", experiment.rootdir]
    command += ["--model_weights_path", weights, "--result_path", result.parent if run.is_autoencoder else result]
    if size := experiment.record(run)["arguments"].get("input_size"):
        command += ["--input_size", *size]
    _run(*command)
    if run.is_autoencoder:  # the report shows photographs that packages bring: they may be shown anywhere
        demo.collect(experiment.examples / "test")
        command = [*_program(run), "test", *_choice(run), "--data_dir", experiment.examples]
        _run(*command, "--model_weights_path", weights, "--result_path", experiment.examples)


def _program(run):
    return ["-m", "common.reconstruct"] if run.is_autoencoder else [Path(run.spec.script).name]


def _choice(run):
    """The flags that choose the network among those of its program."""
    if run.is_autoencoder:
        return ["--target", run.level]
    head = ["--head", run.model] if run.spec.is_one_of_several else []
    return [*head, *(["--jnd_value", run.level] if run.level else [])]


def _backbone(run, experiment):
    """The flag for the backbone's weights: the autoencoders; VGG16 starts at random, ImageNet's need a download."""
    flag = run.spec.backbone.flag
    return [flag, "none" if run.model.startswith("MT_") else experiment.autoencoders]


def _run(*command, accept=(0,)):
    print(f"\n$ python3 {shlex.join(map(str, command))}", flush=True)
    code = run_python(*command)
    if code not in accept:
        raise UserError(f"the command above ended with code {code}; mend what it says and run this again")


if __name__ == "__main__":
    program.run(main)
