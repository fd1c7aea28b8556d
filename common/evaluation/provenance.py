"""The README.md of the evaluation's results: what was run on which data, so that a stranger can run it again."""

import json
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

from common.core import environment, files
from common.core.files import atomic_write, sha256
from common.core.keras_backend import backend_name
from common.evaluation import accuracy, report
from common.media.ffmpeg import VIDEOSET_X264
from common.media.ffmpeg_process import find_ffmpeg


def write(rows, data, good, left_out, costs, options, command, minutes, target):
    """Write it.  rows: of `report.results`; good: the Runs that count; costs: of `trials.costs`; command: how this
    program was called, as a list.
    """
    lines = [
        "# What was run",
        "",
        f"On {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, in {minutes:.1f} minutes beside what was kept of earlier "
        f"runs, in the programs' folder{_at_commit()}:",
        "",
        f"    {shlex.join(command)}",
        "",
        "## Data",
        "",
        *(f"- {line}" for line in report.about(data, rows)[:-1]),
        *(f"- {line}" for line in _origin(data)),
        "",
        "## Models",
        "",
        "Each command writes a file of `predictions/`. Not run: every model that is not in this list"
        f"{'' if report.not_run(data) is None else ', and VideoSet, whose tables stay empty until it is'}.",
        "",
    ]
    for run in good:
        lines += [f"- {run.name}, weights of SHA-256 `{sha256(run.weights)}`{_trained(run)}:", ""]
        lines += [f"      {shlex.join(['python3', *run.command])}", ""]
    lines += [*(f"- left out: {line}" for line in left_out), *[""] * bool(left_out)]
    lines += ["## Numbers", "", *(f"- {line}" for line in _numbers(data, rows, costs, options))]
    lines += ["", "## With", "", *(f"- {line}" for line in _environment())]
    with atomic_write(target) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="backslashreplace")


def _origin(data):
    """Where the dataset is from, what it weighs in digests and medians."""
    medians = ", ".join(f"{median:g}" for median in data.medians)
    unknown = "There is no train folder: no training median, no floor."
    lines = [unknown if "nan" in medians else f"Training medians, of which the floor is made: {medians} QP."]
    found = files.content_digest(data.split.images, data.split.labels)
    lines.append(f"Digest of test pictures and labels, by `common.core.files.content_digest`: `{found}`.")
    try:
        plan = json.loads((Path(data.name) / ".prepare" / "plan.json").read_text())
        command = shlex.join(["python3", "-m", *plan["made by"].split(), "SOURCES", *_flags(plan["settings"])])
        lines.append(f"Made by `{command} --data_dir {data.name}`; its `manifest.csv` has each picture's source.")
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


def _trained(run):
    """Where it stands how a model's weights were trained, if this project trained them."""
    record = run.weights.with_name(f"run{f'JND{run.level}' if run.level else ''}.json")
    return f", trained as `{record}` says" if record.is_file() else ""


def _numbers(data, rows, costs, options):
    """Where the numbers come from."""
    settings = ":".join(f"{name}={value}" for name, value in VIDEOSET_X264.items())
    samples = "not known here" if not data.samples else options.sheets or "the manifest's"
    return [
        "`pictures.csv` has every prediction and what coding at it gives. `results.csv`, `results.md` and `index.html` "
        f"follow from it by `common/evaluation/accuracy.py`; the intervals are of {accuracy.RESAMPLES} draws from seed 0.",
        f"Frames in `coded/` are H.264 intra frames of libx264, `qp=N:{settings}`; PSNR is that of {options.psnr}, "
        "VMAF that of libvmaf's default model.",
        f"Samples of subjects, for the share of satisfied ones: {samples}.",
        *report.about_costs(costs, rows, options),
    ]


def _environment():
    """Versions and machine, a line each."""
    backend = backend_name()
    names = dict.fromkeys((backend, "keras", "numpy", "pillow", "scikit-image", "pandas"))
    ffmpeg = find_ffmpeg()
    said = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, errors="replace", timeout=60).stdout
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    return [
        f"Python {sys.version.split()[0]}, {packages}; KERAS_BACKEND {backend}",
        said.split(" Copyright")[0].strip() or ffmpeg,
        environment.machine(),
    ]
