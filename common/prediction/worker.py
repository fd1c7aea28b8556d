"""What runs on a worker of common.prediction.cluster: a part of the files, predicted as one machine does.

A job is a dict that says how, made by `job_of` where the files are handed out; everything in it is plain data.
"""

import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import threading
import time
import traceback
from pathlib import Path

from common.core.environment import PROJECT
from common.core.errors import UserError
from common.core.keras_backend import backend_name


def _digest():
    """SHA-256 of this project's programs, so that a worker with others is not taken for one of ours."""
    from common.models.released import NETWORKS

    digest = hashlib.sha256()
    scripts = {PROJECT / network.program for network in NETWORKS}
    for file in sorted(scripts | set((PROJECT / "common").rglob("*.py"))):
        digest.update(f"{file.relative_to(PROJECT)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


CODE = _digest()  # now: a worker goes on with what it has loaded, whatever becomes of the files


def job_of(variant, files, options):
    """The job for `variant` with the weights of common.prediction.predictor.find_weights and the options of `predict`."""
    from common.core.files import sha256

    backend = backend_name()
    return {
        "project": str(PROJECT),
        "code": CODE,
        "versions": {name: _version(name) for name in ("keras", backend, "numpy", "pillow")},
        "model": variant.name,
        "input_size": options.input_size,
        "weights": {level: (str(file.absolute()), sha256(file)) for level, file in files.items()},
        "precision": options.precision,
        "fit": options.fit,
        "frames": options.frames,
        "batch_size": options.batch_size,
        "backend": backend,
    }


def _version(package):
    """None where there is none, or no telling."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def start(job, files):
    """Find this project on a worker and predict: the worker's address, and what `predict_part` returns.

    Its code is sent along, so that the scheduler needs nothing of this project, and a worker can say that it has none.
    """
    from distributed import get_worker

    place = get_worker().address
    try:
        from common.prediction import worker
    except ImportError as error:
        ours = (error.name or "common").startswith("common")
        why = "does not find this project" if ours else "lacks a package"
        hint = f"start it with PYTHONPATH={job['project']}" if ours else "pip install -r requirements.txt there"
        return place, "refused", f"{why} ({error}); {hint}"
    if getattr(worker, "CODE", None) != job["code"]:
        return place, "refused", f"has another version of this project than {job['project']}; bring it up to date"
    return place, *worker.predict_part(job, files)


start.__module__ = "__main__"  # which makes pickle send the code and not the name

_one = threading.Lock()
_loaded = None, None


def predict_part(job, files):
    """What became of a part: ("done", (seconds, answers)), ("refused", why), or ("failed", traceback), a defect.

    files: (number in the run, path) of each.
    answers: for each file its rows, or as text what is wrong with it; and whether this worker sees it.
    One part at a time in a process, however many threads it has: these serve the one network.
    """
    from distributed import get_worker

    from common.core import threads
    from common.prediction import inputs
    from common.prediction.predictor import predict_files

    worker, key = get_worker(), get_worker().get_current_task()
    with _one:
        try:
            threads.CORES = worker.state.nthreads
            model = _model(job, worker.state.nthreads)
            started, answers = time.monotonic(), []
            looks = inputs.prepare_inputs(
                [(number, Path(path)) for number, path in files], model.variant.input, job["fit"], job["frames"]
            )
            # Nobody waits any more for what was cancelled.
            wanted = itertools.takewhile(lambda _: worker.state.tasks[key].state != "cancelled", looks)
            for path, rows in predict_files(wanted, model):
                answers.append((str(rows), path.exists()) if isinstance(rows, UserError) else (rows, True))
            return "done", (time.monotonic() - started, answers)
        except ImportError as error:
            return "refused", f"lacks a package ({error}); pip install -r requirements.txt there"
        except UserError as error:
            return "refused", str(error)
        except OSError as error:
            return "refused", f"{error.filename or 'a file'}: {error.strerror or error}"
        except Exception as error:  # as text: not every kind of error is known where it is shown
            if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
                return "refused", "out of memory; lower --batch_size"
            return "failed", traceback.format_exc()


def _model(job, threads):
    """The job's Predictor, kept for the parts that come after."""
    global _loaded
    if _loaded[0] == job:
        return _loaded[1]
    _loaded = None, None  # first, so that two never share the memory
    from common.core.files import sha256
    from common.core.keras_backend import load_keras, use_backend
    from common.models.registry import get_model
    from common.prediction.predictor import Predictor

    for file, digest in job["weights"].values():
        if not os.path.exists(file):
            raise UserError(f"does not see {file}; expected a file system that all workers share")
        if sha256(file) != digest:
            raise UserError(f"sees another {file}; expected a file system that all workers share")
    if not importlib.util.find_spec(job["backend"]):  # before Keras, half imported, spoils the process
        raise UserError(f"KERAS_BACKEND={job['backend']}: lacks this package; install it there")
    for package, here in job["versions"].items():
        there = _version(package)
        if here and there and here != there:
            raise UserError(f"has {package} {there}, where the run was started it is {here}; install the same")
    try:
        use_backend(job["backend"])
    except UserError as error:
        raise UserError(f"{error}; restart the workers") from None
    load_keras(threads=threads)
    variant = get_model(job["model"])
    if job["input_size"]:
        variant = variant.resized(*job["input_size"])
    files = {level: Path(file) for level, (file, _) in job["weights"].items()}
    how = {name: job[name] for name in ("precision", "fit", "batch_size")}
    _loaded = job, Predictor(variant, files, **how)
    return _loaded[1]
