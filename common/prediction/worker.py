"""What runs on a worker of common.prediction.cluster: a part of the files, predicted as on one machine.

A job is a dict of plain data, made by `job_of` where the run was started.
"""

import hashlib
import importlib.util
import itertools
import os
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import distributed

from common.core import device, threads
from common.core.environment import PROJECT
from common.core.errors import UserError
from common.core.files import sha256
from common.models import exported
from common.models.registry import ModelSpec, get_model
from common.prediction import networks
from common.prediction.config import PredictionConfig
from common.prediction.export_cache import package_version
from common.prediction.inputs import prepare_inputs
from common.prediction.predictor import Predictor, predict_files


def code_digest(project: Path = PROJECT) -> str:
    """Return the SHA-256 of the scripts and of common/, hidden files left out, by which another version is known."""
    digest = hashlib.sha256()
    for file in sorted([*project.glob("*.py"), *project.glob("common/**/*.py")]):
        name = file.relative_to(project)
        if not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name}\n".encode() + file.read_bytes())
    return digest.hexdigest()


CODE = code_digest()  # at the import: a worker goes on with what it has loaded, whatever becomes of the files


def job_of(spec: ModelSpec, weights: Mapping[str | None, Path], config: PredictionConfig) -> dict[str, Any]:
    """Return the job for a model with the weight files of `find_weights`."""
    files = list(weights.values())
    computing = networks.packages(files, config)
    return {
        "project": str(PROJECT),
        "code": CODE,
        "versions": {package: package_version(package) for package in (*computing, "numpy", "pillow")},
        "backend": computing[-1],
        "model": spec.name,
        "weights": {level: str(file.absolute()) for level, file in weights.items()},
        "files": {str(file.absolute()): sha256(file) for file in {*files, *map(exported.companion_of, files)}},
        "config": asdict(config),
    }


class Call:
    """A call of a function, which pickle writes as the function's name and its arguments.

    So a message holds no code: whoever unpickles it imports the function from its own checkout, and gets its result.
    """

    def __init__(self, function: Callable, *arguments: Any):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


_one_part = threading.Lock()
_loaded: dict[str, Any] = {}  # the job and its predictor


def start(job: dict[str, Any], files: list[tuple[int, str]]) -> tuple[str, str, Any]:
    """Predict some files, (number in the run, path) of each, on a worker.

    One part at a time in a process, however many threads it has: they all serve the one network.

    Returns:
        The worker's address; and "done", (seconds, results), or "refused", why, or "failed", the traceback of a fault
        of this program.  A result is (rows, True) of a file, or (what is wrong with it, whether this worker sees it).
    """
    this = distributed.get_worker()
    key = this.get_current_task()
    with _one_part:
        try:
            if CODE != job["code"]:
                raise UserError(f"has another version of this project than {job['project']}; update it")
            threads.CORES = this.state.nthreads
            predictor = _predictor(job)
            started, results = time.monotonic(), []
            paths = [(number, Path(path)) for number, path in files]
            images = prepare_inputs(paths, predictor.spec.input, PredictionConfig(**job["config"]))
            # Nobody waits any more for what was cancelled.
            wanted = itertools.takewhile(lambda _: this.state.tasks[key].state != "cancelled", images)
            for path, rows in predict_files(wanted, predictor):
                results.append((str(rows), path.exists()) if isinstance(rows, UserError) else (rows, True))
            return this.address, "done", (time.monotonic() - started, results)
        except ImportError as error:
            why = f"lacks a package ({error}); pip install -r requirements.txt there"
        except UserError as error:
            why = str(error)
        except OSError as error:
            why = f"{error.filename or 'a file'}: {error.strerror or error}"
        except Exception as error:  # as text: where it is shown, not every kind of error is known
            if not (isinstance(error, MemoryError) or device.is_out_of_memory(error)):
                return this.address, "failed", traceback.format_exc()
            why = "out of memory; lower --batch_size"
    return this.address, "refused", why


def _predictor(job: dict[str, Any]) -> Predictor:
    """Return the job's Predictor, kept for further parts; raise UserError where this worker cannot make it."""
    if _loaded.get("job") == job:
        return _loaded["predictor"]
    _loaded.clear()  # before the next one is made: two would need twice the memory
    for file, digest in job["files"].items():
        if not os.path.exists(file):
            raise UserError(f"does not see {file}; expected a file system that all workers share")
        if sha256(file) != digest:
            raise UserError(f"sees another {file}; expected a file system that all workers share")
    if not importlib.util.find_spec(job["backend"]):  # before Keras, half imported, spoils the process
        raise UserError(f"backend {job['backend']}: lacks this package; install it there")
    for package, here in job["versions"].items():
        there = package_version(package)
        if here and there and here != there:
            raise UserError(f"has {package} {there}, where the run was started it is {here}; install the same")
    config, spec = PredictionConfig(**job["config"]), get_model(job["model"])
    files = {level: Path(file) for level, file in job["weights"].items()}
    if not networks.runtime_format(files.values(), config):
        config = replace(config, backend=job["backend"])  # Keras's, which may be another one's default here
    try:
        networks.start_backend(files.values(), config, threads=threads.CORES)
    except UserError as error:
        raise UserError(f"{error}; restart the workers") from None
    if config.input_size:
        spec = spec.resized(*config.input_size)
    predictor = Predictor(spec, files, config)
    _loaded.update(job=job, predictor=predictor)
    return predictor
