"""The models' own `test` commands, run for the weight files that are there.

Each trial is a process of its own: the memory that it needs is that of one model.
"""

import csv
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from common.core.environment import PROJECT
from common.core.errors import UserError
from common.core.files import write_text
from common.core.messages import note
from common.core.processes import run_python
from common.data.dataset import Split
from common.data.layout import LABEL_FILE
from common.models import exported, released
from common.models.registry import LEVELS, ModelSpec, get_model, list_models
from common.models.weight_search import find_files, inspect, level_names


@dataclass(frozen=True)
class Trial:
    """One run of a model's `test` command."""

    model: str
    level: str | None  # "JND1" to "JND3"; None where one file predicts all levels
    weights: Path
    result: Path  # the CSV file that the command writes
    command: list[str]  # the script and its arguments

    @property
    def name(self) -> str:
        return f"{self.model} {self.level}" if self.level else self.model

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels that it predicts."""
        return level_names(get_model(self.model), [self.level])


def _identify(path: Path, shown: str) -> tuple[ModelSpec, str | None] | None:
    """Return the model and level of a weight file or exported network, None for an autoencoder's weights.

    The released models' weights are known by their shapes, other models' by their names.  MT_3LJND and MT_3LJND_VA have
    the same shapes, so VA in the file's or a folder's name decides.  An exported network says what it is.

    Args:
        shown: The file, from the folder on.

    Raises:
        UserError: It fits no model, or its level is not known.
    """
    if exported.format_of(path):
        described = exported.describe(path)
        if described["model"] not in list_models():
            raise UserError(f"{path}: exported from {described['model']}, which is no model here")
        spec = get_model(described["model"])
        level = next(iter(described["outputs"])) if spec.needs_level else None
        exported.check(path, spec, level)
        return spec, level
    file = inspect(path)
    name = file.about.get("file", path.name)
    papers = {entry.model for entry in released.RELEASED}
    others = (spec for spec in map(get_model, list_models()) if spec.name not in papers)
    spec = next((spec for spec in others if name in map(spec.released_name, LEVELS)), None)
    if spec is None:
        models = released.models_of(released.identify(file))
        marked = re.search(r"(?<![A-Za-z])VA(?![A-Za-z])", shown if name == path.name else name)
        model = next((model for model in models if marked and model.endswith("VA")), models[0])
        if model == "autoencoder":
            return None
        spec = get_model(model)
    match = re.search("JND[123]", name)
    if spec.needs_level and not match:
        raise UserError(f"{path}: {spec.name}, but neither JND1, JND2 nor JND3 is in its name; rename it")
    return spec, match[0] if match and spec.needs_level else None


def find_trials(folder: Path, root: Path, results: Path) -> tuple[list[Trial], list[str]]:
    """Make a trial of each weight file in or below `folder`, and of exported networks that no weights are there for.

    root: The rootdir whose test split is predicted.  results: The folder of the result files.  Returns the trials in
    the papers' order, and a line about each file that had to be left out.  Raises UserError where there is no usable
    weight file, or two for the same model and level.
    """
    trials, left_out = {}, []
    for file in sorted(find_files(folder), key=lambda file: bool(exported.format_of(file))):  # weights first
        shown = str(file.relative_to(folder))
        if not exported.companion_of(file).is_file():  # an .xml of another program
            continue
        try:
            identified = _identify(file, shown)
        except UserError as error:
            left_out.append(str(error).replace(str(file), shown, 1))
            continue
        if identified is None:
            continue
        spec, level = identified
        key = list_models().index(spec.name), level or ""
        if exported.format_of(file) and key in trials and not exported.format_of(trials[key].weights):
            continue
        name = f"{spec.name}_{level}" if level else spec.name
        result = results / f"{name}.csv"
        command = [Path(spec.script).name, "test", "--data_dir", str(root), "--model_weights_path", str(file)]
        command += ["--result_path", str(result), *spec.flags(level)]
        trial = Trial(spec.name, level, file, result, command)
        first = trials.setdefault(key, trial)
        if first is not trial:
            other = first.weights.relative_to(folder)
            raise UserError(f"{folder}: {other} and {shown} are both {trial.name}; keep one of them in this folder")
    if not trials:
        raise UserError(
            f"{folder}: no model's weights at the papers' input size in or below this folder; "
            "python3 -m common.weights fetch downloads the released files"
        )
    return [trials[key] for key in sorted(trials)], left_out


def run_trial(trial: Trial, split: Split) -> None:
    """Write the trial's result file, unless it is there and newer than the weights and the images.

    Raises UserError where the command failed, which has printed the reason.
    """
    command, record = shlex.join(["python3", *trial.command]), trial.result.with_suffix(".txt")
    if _is_current(trial, split) and record.is_file() and record.read_text() == f"{command}\n":
        note(f"{trial.name}: done before")
        return
    note(f"$ {command}")
    code = run_python(PROJECT / trial.command[0], *trial.command[1:], stdout=subprocess.DEVNULL)
    if code:
        raise UserError(f"its test ended with exit code {code}, for the reason that it gives above")
    write_text(record, f"{command}\n")


def _is_current(trial, split):
    """Whether the result file names the split's images and is newer than what it was made of."""
    sources = [trial.weights, split.folder, *split.images, split.folder / LABEL_FILE]
    try:
        # Copying sets the time of the modification back, but not the time of the last change.
        newest = max(max(path.stat().st_mtime, path.stat().st_ctime) for path in sources)
        with open(trial.result, newline="", encoding="utf-8", errors="surrogateescape") as file:
            names = [row["image"] for row in csv.DictReader(file)]
        return trial.result.stat().st_mtime > newest and names == [path.name for path in split.images]
    except (OSError, ValueError, KeyError, csv.Error):
        return False
