"""The same predictions by the workers of a dask.distributed cluster: files go out in parts, rows come back in order.

What a worker runs is `common.predict.predict_files`, as one machine does.  Pictures and weights are read by path from a
file system that all share.  docs/cluster.md says how to start a scheduler and workers.
"""

import asyncio
import collections
import hashlib
import importlib.util
import itertools
import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path

from tqdm import tqdm

from common.errors import UserError
from common.sources import is_clip

PACKAGE = "distributed==2026.8.0"
PART_SECONDS = 5  # of work in a part: what is lost with a worker, and many times what sending it takes
LARGEST_PART = 256  # files
WAITING = 10_000  # files that may be done, or under way, while one before them is not
CONNECT_SECONDS = 10
LOOK_SECONDS = 3  # between two looks at who is there
WORKER_SECONDS = 300  # without any worker; a batch system may take its time to start the first


def _digest():
    """SHA-256 of this project's programs, so that a worker with others is not taken for one of ours."""
    from common.released import NETWORKS

    root, digest = Path(__file__).resolve().parent.parent, hashlib.sha256()
    scripts = {root / network.program for network in NETWORKS}
    for file in sorted(scripts | set((root / "common").glob("*.py"))):
        digest.update(f"{file.relative_to(root)}\n".encode() + file.read_bytes())
    return digest.hexdigest()


CODE = _digest()  # now: a worker goes on with what it has loaded, whatever becomes of the files


# What runs on the workers.


def _start(job, paths):
    """Find this project on a worker and predict: the worker's address, and what `predict_part` returns.

    Its code is sent along, so that the scheduler needs nothing of this project, and a worker can say that it has none.
    """
    from distributed import get_worker

    place = get_worker().address
    try:
        from common import cluster
    except ImportError as error:
        ours = (error.name or "common").startswith("common")
        why = "does not find this project" if ours else "lacks a package"
        hint = f"start it with PYTHONPATH={job['project']}" if ours else "pip install -r requirements.txt there"
        return place, "refused", f"{why} ({error}); {hint}"
    if getattr(cluster, "CODE", None) != job["code"]:
        return place, "refused", f"has another version of this project than {job['project']}; bring it up to date"
    return place, *cluster.predict_part(job, paths)


_start.__module__ = "__main__"  # which makes pickle send the code and not the name

_one = threading.Lock()
_loaded = None, None


def predict_part(job, paths):
    """What became of a part: ("done", (seconds, answers)), ("refused", why), or ("failed", traceback), a defect.

    answers: for each file its rows, or as text what is wrong with it; and whether this worker sees it.
    One part at a time in a process, however many threads it has: these serve the one network.
    """
    from distributed import get_worker

    from common import images, sources
    from common.predict import predict_files

    worker, key = get_worker(), get_worker().get_current_task()
    with _one:
        try:
            images.WORKERS = max(1, worker.state.nthreads - 1)
            model = _model(job, worker.state.nthreads)
            started, answers = time.monotonic(), []
            looks = sources.looks(map(Path, paths), model.variant.input, job["fit"], job["frames"])
            # Nobody waits any more for what was cancelled.
            wanted = itertools.takewhile(lambda _: worker.state.tasks[key].state != "cancelled", looks)
            for path, rows in predict_files(wanted, model):
                answers.append((str(rows) if isinstance(rows, UserError) else rows, path.exists()))
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
    from common.predictor import Predictor, find_variant, use_backend
    from common.programs import load_keras
    from common.zenodo import sha256

    for file, digest in job["weights"].values():
        if not os.path.exists(file):
            raise UserError(f"does not see {file}; expected a file system that all workers share")
        if sha256(file) != digest:
            raise UserError(f"sees another {file}; expected a file system that all workers share")
    if not importlib.util.find_spec(job["backend"]):  # before Keras, half imported, spoils the process
        raise UserError(f"KERAS_BACKEND={job['backend']}: lacks this package; install it there")
    try:
        use_backend(job["backend"])
    except UserError as error:
        raise UserError(f"{error}; restart the workers") from None
    load_keras(threads=threads)
    variant = find_variant(job["model"])
    if job["input_size"]:
        variant = variant.resized(*job["input_size"])
    files = {level: Path(file) for level, (file, _) in job["weights"].items()}
    how = {name: job[name] for name in ("precision", "fit", "batch_size")}
    _loaded = job, Predictor(variant, files, **how)
    return _loaded[1]


# What runs here.


def predict_files(variant, files, paths, options):
    """What common.predict.predict_files yields of the looks at `paths`, in order; the work is the cluster's.

    files: of common.predictor.find_weights.  options: of `predict`, with the scheduler's address as `dask`.
    Raises UserError where scheduler or workers are missing, lost or unfit; closing the generator cancels what is left.
    """
    if not paths:
        return
    distributed = _import()
    from common.zenodo import sha256

    job = {
        "project": str(Path(__file__).resolve().parent.parent),
        "code": CODE,
        "model": variant.name,
        "input_size": options.input_size,
        "weights": {level: (str(file.absolute()), sha256(file)) for level, file in files.items()},
        "precision": options.precision,
        "fit": options.fit,
        "frames": options.frames,
        "batch_size": options.batch_size,
        "backend": os.environ.get("KERAS_BACKEND") or "tensorflow",
    }
    cluster = Cluster(distributed, options.dask)
    try:
        yield from cluster.run(job, paths)
    finally:
        cluster.close()


def _import():
    """The package distributed, without its remarks: what matters of them ends in one line of ours."""
    try:
        import dask
        import distributed
    except ImportError:
        raise UserError(f'--dask needs a package that is not installed: pip install "{PACKAGE}"') from None
    import logging
    import warnings

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore", distributed.versions.VersionMismatchWarning)
    dask.config.set({"distributed.comm.timeouts.connect": CONNECT_SECONDS})
    return distributed


class Part:
    """Some files that go out together.  future: None until they do.  answers: None until they are back."""

    def __init__(self, paths):
        self.paths, self.future, self.answers = paths, None, None


class Cluster:
    """A scheduler and its workers, each with one part at a time, so that a part that kills its worker is known."""

    def __init__(self, distributed, address):
        self.distributed, self.address = distributed, address
        self.size, self.proven, self.workers, self.looked = 4, False, 0, 0.0
        self.waiting, self.done = collections.deque(), queue.SimpleQueue()
        try:
            here, there = distributed.__version__, asyncio.run(asyncio.wait_for(self._version(), CONNECT_SECONDS + 1))
        except Exception as error:  # whatever may answer at a port
            reason = " ".join(str(error).split()) or f"nothing it says in {CONNECT_SECONDS} s makes sense"
            raise UserError(f"--dask {address}: no dask scheduler answers there ({reason})") from None
        if here != there:
            raise UserError(f"{address}: has distributed {there}, here is {here}; install the same everywhere")
        self.client = distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)

    async def _version(self):
        """The scheduler's version.  A Client would wait forever for a port that is no scheduler's."""
        security = self.distributed.Security().get_connection_args("client")
        async with self.distributed.rpc(self.address, timeout=CONNECT_SECONDS, connection_args=security) as scheduler:
            kind = (await scheduler.identity())["type"]
            if kind != "Scheduler":
                raise UserError(f"a {kind}")
            return (await scheduler.versions())["packages"]["distributed"]

    def run(self, job, paths):
        """Yield (path, rows or UserError) for each of `paths`, in order."""
        left = self._parts(paths)
        self._count_workers()
        while True:
            self._submit(job, left)
            if not self.waiting:
                return
            self._collect()
            while self.waiting and self.waiting[0].answers is not None:
                yield from self.waiting.popleft().answers

    def close(self):
        """Cancel what is under way."""
        try:
            self.client.close(timeout=2)
        except Exception:  # a scheduler that is gone has nothing left to cancel
            pass

    def _parts(self, paths):
        """Parts of as many files as take PART_SECONDS, as known by then.  A clip, which may be long, is one alone."""
        for clips, group in itertools.groupby(paths, is_clip):
            while some := list(itertools.islice(group, 1 if clips else self.size)):
                yield Part(some)

    def _submit(self, job, left):
        """Send as many parts as there are workers without one; those of `waiting` that have not been sent first."""
        running = sum(part.future is not None for part in self.waiting)
        again = [part for part in self.waiting if part.future is None and part.answers is None]
        files = sum(len(part.paths) for part in self.waiting)
        while running < self.workers:
            if again:
                part = again.pop(0)
            elif files < WAITING and (part := next(left, None)):
                self.waiting.append(part)
                files += len(part.paths)
            else:
                return
            sent = [str(path.absolute()) for path in part.paths]
            part.future = self.client.submit(_start, job, sent, pure=False)
            part.future.add_done_callback(lambda _, part=part: self.done.put(part))
            running += 1

    def _collect(self):
        """Wait until one part is back, or it is time to look after the workers."""
        try:
            part = self.done.get(timeout=1)
        except queue.Empty:
            part = None
        if self.client.status != "running" or part and part.future.status == "cancelled":
            raise UserError(f"{self.address}: the scheduler is gone; what was saved is kept, --resume goes on with it")
        if time.monotonic() - self.looked > LOOK_SECONDS:
            self._count_workers()
        if not part:
            return
        future, part.future = part.future, None
        try:
            place, how, answer = future.result(timeout=CONNECT_SECONDS)
        except (TimeoutError, self.distributed.TimeoutError):  # lost with its worker in this moment
            return
        except self.distributed.KilledWorker as error:
            self._killed(part, error)
            return
        if how == "failed":
            raise RuntimeError(f"worker {place} says\n{answer}")
        if how == "refused":
            raise UserError(f"worker {place}: {answer}")
        seconds, answers = answer
        part.answers = [self._answer(place, path, *seen) for path, seen in zip(part.paths, answers)]
        self.proven = True
        if not is_clip(part.paths[0]):
            most = min(2 * len(part.paths), LARGEST_PART)
            self.size = max(1, min(most, round(PART_SECONDS * len(part.paths) / max(seconds, 0.01))))

    def _answer(self, place, path, rows, there):
        """(path, rows), or what is wrong as UserError, as the person wrote the path."""
        if isinstance(rows, str):
            if not there and path.exists():
                raise UserError(f"worker {place}: does not see {path}; expected a file system that all workers share")
            return path, UserError(rows.replace(str(path.absolute()), str(path)))
        return path, [{**row, "path": str(path)} for row in rows]

    def _killed(self, part, error):
        """Of a part whose workers died again and again, try the files one by one; name the one that does it."""
        times, (first, *others) = error.allowed_failures + 1, part.paths
        why = f"killed its worker {times} times, last {error.last_worker.address}; see its log. Out of memory?"
        if others:
            place = self.waiting.index(part)
            self.waiting.remove(part)
            for path in reversed(part.paths):
                self.waiting.insert(place, Part([path]))
        elif self.proven:
            part.answers = [(first, UserError(f"{first}: {why}"))]
        else:
            raise UserError(f"{first}: {why} Nothing was done before")

    def _count_workers(self):
        """Find out how many workers take work; wait for the first, but not forever."""
        began, said = time.monotonic(), False
        while True:
            try:
                workers = self.client.scheduler_info()["workers"].values()
            except OSError:
                workers = []
            self.workers = sum(worker["status"] == "running" for worker in workers)
            self.looked = time.monotonic()
            if self.workers or self.client.status != "running":
                return
            state = f"all {len(workers)} workers paused, short of memory" if workers else "no workers"
            if self.looked - began > WORKER_SECONDS:
                sent = [part.paths for part in self.waiting if part.future]
                files = ", ".join(f"{paths[0]} to {paths[-1]}" for paths in sent[:3])
                files = f"; under way: {files}{' ...' if sent[3:] else ''}" if sent else ""
                raise UserError(f"{self.address}: {state} for {WORKER_SECONDS} s; what was saved is kept{files}")
            if not said:
                tqdm.write(f"{self.address}: {state}; waiting for one: dask worker {self.address}", file=sys.stderr)
                said = True
            time.sleep(1)
