"""The same predictions by the workers of a dask.distributed cluster: files go out in parts, rows come back in order.

What a worker does is in common.prediction.worker.  Pictures and weights are read by path from a file system that all share.
docs/cluster.md says how to start a scheduler and workers.
"""

import asyncio
import collections
import itertools
import queue
import sys
import time

from tqdm import tqdm

from common.core.errors import UserError
from common.media.clips import is_clip
from common.prediction import worker

PACKAGE = "distributed==2026.8.0"
PART_SECONDS = 5  # of work in a part: what is lost with a worker, and many times what sending it takes
LARGEST_PART = 256  # files
WAITING = 10_000  # files that may be done, or under way, while one before them is not
CONNECT_SECONDS = 10
LOOK_SECONDS = 3  # between two looks at who is there
WORKER_SECONDS = 300  # without any worker; a batch system may take its time to start the first


def predict_files(variant, files, inputs, options):
    """What common.prediction.predictor.predict_files yields of the looks at `inputs`, in order; the work is the cluster's.

    inputs: (number in the run, path) of each file.  files: of common.prediction.predictor.find_weights.  options: of `predict`, with the scheduler's address as `dask`.
    Raises UserError where scheduler or workers are missing, lost or unfit; closing the generator cancels what is left.
    """
    if not inputs:
        return
    distributed = _import()
    cluster = Cluster(distributed, options.dask)
    try:
        yield from cluster.run(worker.job_of(variant, files, options), inputs, options.batch_size)
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

    def __init__(self, files):
        self.files, self.future, self.answers = files, None, None
        self.paths = [path for _, path in files]


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

    def run(self, job, files, batch_size):
        """Yield (path, rows or UserError) for each of `files`, in order."""
        left = self._parts(files, batch_size)
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

    def _parts(self, files, batch_size):
        """Parts of as many files as take PART_SECONDS, as known by then.  A clip, which may be long, is one alone.

        Else in whole batches: with less in them, they take as long.
        """
        for clips, group in itertools.groupby(files, lambda file: is_clip(file[1])):
            while some := list(itertools.islice(group, 1 if clips else -(-self.size // batch_size) * batch_size)):
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
            sent = [(number, str(path.absolute())) for number, path in part.files]
            part.future = self.client.submit(worker.start, job, sent, pure=False)
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
            for file in reversed(part.files):
                self.waiting.insert(place, Part([file]))
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
