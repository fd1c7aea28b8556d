"""What a training leaves: its best epoch, `run.json` for people, and the state that --resume goes on from."""

import contextlib
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common.core.environment import git_commit
from common.core.errors import UserError
from common.core.files import atomic_write, check_writable, write_text
from common.core.keras_backend import backend_name
from common.training import devices
from common.training.config import TrainingConfig, TrainingFiles


@dataclass
class Best:
    """The epoch with the least loss on valid, counted from 1; 0 where there is none yet.

    Args:
        loss: on valid.
        epoch: its number.
        logs: {name as Keras has it: loss or metric}.
    """

    loss: float = float("inf")
    epoch: int = 0
    logs: dict[str, float] = field(default_factory=dict)


class Throttled:
    """Calls an action only so often that it takes no more than a twentieth of the time."""

    def __init__(self, action: Callable):
        self.action, self.cost, self.last = action, 0.0, -np.inf

    def __call__(self, *arguments):
        """Call the action, if enough time has passed."""
        if time.monotonic() - self.last > 20 * self.cost:
            started = time.monotonic()
            self.action(*arguments)
            self.last = time.monotonic()
            self.cost = self.last - started


class Record:
    """The `run.json` of a training: arguments, versions, data, device, duration, how far it came."""

    def __init__(self, path: Path, name: str, settings: dict[str, Any], data: dict[str, Any]):
        self.path, self.started = Path(path), time.monotonic()
        self.entries = {
            "model": name,
            "command": sys.argv,
            "arguments": dict(sorted(settings.items())),
            "data": data,
            "versions": {
                "python": platform.python_version(),
                **{package: version(package) for package in (backend_name(), "keras", "numpy", "pillow")},
            },
            "git_commit": git_commit(),
            "device": devices.visible(),
            "machine": platform.platform(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": 0.0,
        }
        self.before, self.began = 0.0, False

    def resume(self) -> None:
        """Go on from what an earlier process wrote."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # it is for people: nothing depends on it
            earlier = json.loads(self.path.read_text())
            self.before = float(earlier["seconds"])
            self.entries["resumed"] = [*earlier.get("resumed", []), earlier["started"]]

    def write(self, status: str, **more: Any) -> None:
        """Write it: running, finished, or what happened."""
        self.entries |= {"status": status, "seconds": round(self.before + time.monotonic() - self.started, 1), **more}
        self.began = True
        write_text(self.path, json.dumps(self.entries, indent=1, default=str) + "\n")


def trim_log(log: Path, epochs: int, best: tuple[int, float]) -> None:
    """Keep the rows of the first `epochs` epochs of a CSV log; the others, and half a row, will be written again.

    Only these are deleted: rows that follow the kept ones, epoch by epoch, and a cut last line.

    Args:
        best: number, from 1, and loss on valid of the best epoch so far; (0, ...) where there is none yet.

    Raises:
        UserError: the file is not a log, its best epoch is another, so that it belongs to another training, or a row
            cannot be explained.
    """
    advice = "name its own, or a new one, by --csv_log_path"
    kept, losses, bad = [], {}, None
    before = log.read_bytes()
    lines = before.decode("utf-8", "surrogateescape").split("\n")
    names = lines[0].strip("\r").split(";")
    for number, line in enumerate(lines[1:], start=2):
        row = dict(zip(names, line.strip("\r").split(";"))) if line.count(";") == len(names) - 1 else {}
        try:
            epoch, loss = int(row["epoch"]), float(row["val_loss"])
        except (KeyError, ValueError):
            cut_off = number == len(lines)  # has no line end
            bad = bad or (None if cut_off or not line.strip("\r") else number)
            continue
        if losses and epoch != max(losses):  # numbers of epochs count from 0 in a log
            bad = bad or number
        losses[epoch + 1] = loss
        if epoch < epochs:
            kept.append(line)
    own = losses.get(best[0], best[1]) == best[1] if best[0] else len(losses) < 2
    if not own or not {"epoch", "val_loss"} <= {*names} and lines != [""]:
        raise UserError(f"{log}: not the log of this training; {advice}")
    if bad:
        raise UserError(f"{log}:{bad}: no row of this log that follows the one before; mend it, or {advice}")
    text = "\n".join([lines[0], *kept, ""]) if lines != [""] else ""
    content = text.encode("utf-8", "surrogateescape")
    if content != before:
        with atomic_write(log) as temporary:
            temporary.write_bytes(content)


def save_state(path: Path, arrays: Sequence[np.ndarray], facts: dict[str, Any]) -> None:
    """Write `arrays`, a list, and `facts`, a dictionary for JSON, as the file `path`, whole or not at all."""
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, json.dumps(facts), *arrays)


def load_state(path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """(arrays, facts) as `save_state` wrote them; raises UserError for another file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            facts, *arrays = (file[f"arr_{number}"] for number in range(len(file.files)))
            return arrays, json.loads(str(facts))
    except Exception as error:  # damaged bytes make NumPy raise nearly anything
        raise UserError(
            f"{path}: no state of a training ({error}); delete it and train anew with --overwrite"
        ) from None


def check_outputs(config: TrainingConfig, files: TrainingFiles) -> None:
    """Raise UserError where a training could not write its files, or would replace an earlier one's unasked."""
    for file in (files.checkpoint, files.log):
        if file.exists() and not (config.overwrite or config.resume and files.state.exists()):
            raise UserError(
                f"{file}: exists, from an earlier training; give another folder, --overwrite to replace it, "
                f"or --resume to go on with it, which needs {files.state}"
            )
        check_writable(file)
