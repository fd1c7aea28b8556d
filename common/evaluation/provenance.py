"""The README.md of an evaluation's results: what was run on which data, so that a stranger can run it again."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from common.core import environment
from common.core.files import content_digest, read_json, sha256, write_text
from common.core.keras_backend import backend_name
from common.evaluation import accuracy, report
from common.evaluation.report import Evaluation
from common.media.ffmpeg import VIDEOSET_X264
from common.media.ffmpeg_process import find_ffmpeg


def write(evaluation: Evaluation, command: Sequence[str], minutes: float) -> None:
    """Write README.md into the output folder.  command: that of this evaluation, empty where Python started it."""
    data = evaluation.data
    others = "" if report.videoset_results(data) is None else ", and VideoSet, whose tables stay empty until it is"
    lines = [
        "# What was run",
        "",
        f"On {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, in {minutes:.1f} minutes, not counting what was "
        f"kept from earlier runs, in the programs' folder{_at_commit()}:",
        "",
        f"    {shlex.join(command) or evaluation.config}",
        "",
        "## Data",
        "",
        *(f"- {line}" for line in report.about(evaluation)[:-1]),
        *(f"- {line}" for line in _origin(data)),
        "",
        "## Models",
        "",
        f"Each command writes a file of `predictions/`. Not run: every model that is not in this list{others}.",
        "",
    ]
    for trial in evaluation.trials:
        lines += [f"- {trial.name}, weights of SHA-256 `{sha256(trial.weights)}`{_training(trial)}:", ""]
        lines += [f"      {shlex.join(['python3', *trial.command])}", ""]
    lines += [*(f"- left out: {line}" for line in evaluation.left_out), *[""] * bool(evaluation.left_out)]
    lines += ["## Numbers", "", *(f"- {line}" for line in _numbers(evaluation))]
    lines += ["", "## With", "", *(f"- {line}" for line in _environment())]
    write_text(evaluation.config.output / "README.md", "\n".join(lines) + "\n")


def _origin(data):
    """Sentences: the training medians, a digest of the data, the command that made the dataset."""
    medians = ", ".join(f"{median:g}" for median in data.medians if not np.isnan(median))  # of JND1 alone, or all
    unknown = "There is no train folder: no training median, no median baseline."
    lines = [f"Training medians, which the median baseline predicts: {medians} QP." if medians else unknown]
    digest = content_digest(data.split.images, data.split.labels)
    lines.append(f"Digest of test images and labels, by `common.core.files.content_digest`: `{digest}`.")
    try:
        plan = read_json(Path(data.name) / ".prepare" / "plan.json")
        command = shlex.join(["python3", "-m", *plan["made by"].split(), "SOURCES", *_flags(plan["settings"])])
        lines.append(f"Made by `{command} --data_dir {data.name}`; its `manifest.csv` has each image's source.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        lines.append("How it was made is not recorded there: no `.prepare/plan.json`, as common.prepare leaves it.")
    return lines


def _flags(settings):
    """Settings, {flag: value}, as a command line has them."""
    words = []
    for name, value in settings.items():
        if value is None or value is False:
            continue
        values = value if isinstance(value, list) else [] if value is True else [value]
        texts = [",".join(map(str, part)) if isinstance(part, list) else str(part) for part in values]
        words += [f"--{name}", *texts]
    return words


def _at_commit():
    commit = environment.git_commit()
    if commit is None:
        return ""
    return f", commit `{commit.removesuffix('+')}`" + (", with files changed since" if commit.endswith("+") else "")


def _training(trial):
    """The record of the training that made the weights, if this project trained them."""
    record = trial.weights.with_name(f"run{trial.level or ''}.json")
    return f", trained as `{record}` says" if record.is_file() else ""


def _numbers(evaluation):
    """Sentences: where the numbers come from."""
    config = evaluation.config
    settings = ":".join(f"{name}={value}" for name, value in VIDEOSET_X264.items())
    samples = "not known here" if not evaluation.data.samples else config.sheets or "the manifest's"
    return [
        "`pictures.csv` has every prediction and what coding at it gives. `results.csv`, `results.md` and `index.html` "
        "follow from it by `common/evaluation/accuracy.py`; "
        f"the intervals are of {accuracy.RESAMPLES} draws from seed 0.",
        f"Frames in `coded/` are H.264 intra frames of libx264, `qp=N:{settings}`; PSNR is that of {config.psnr}, "
        "VMAF that of libvmaf's default model.",
        f"Samples of subjects, for the share of satisfied ones: {samples}.",
        *evaluation.cost_notes,
    ]


def _environment():
    """Versions and machine, a line each."""
    backend = backend_name()
    names = dict.fromkeys((backend, "keras", "numpy", "pillow", "scikit-image", "pandas"))
    ffmpeg = find_ffmpeg()
    output = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, errors="replace", timeout=60).stdout
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return [
        f"Python {sys.version.split()[0]}, {packages}; KERAS_BACKEND {backend}",
        output.split(" Copyright")[0].strip() or ffmpeg,
        environment.machine(),
    ]
