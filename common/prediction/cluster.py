"""The same predictions by the workers of a Dask cluster: files go out in parts, rows come back in order.

What a worker does is in `common.prediction.worker`.  Images and weights are read by path, from a file system that all
share.  docs/cluster.md says how to start a scheduler and workers.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import logging
import os
import pickle
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import dask.config
import distributed
from distributed.versions import VersionMismatchWarning, get_versions

from common.core.errors import UserError
from common.core.messages import warn
from common.media.formats import is_clip
from common.models.registry import ModelSpec
from common.prediction import worker
from common.prediction.config import PredictionConfig
from common.prediction.predictor import Result

PART_SECONDS = 5  # of work in a part: what is lost with a worker, and many times what sending it takes
LARGEST_PART = 256  # files
WAITING = 10_000  # files that may be predicted, or under way, while one before them is not
CONNECT_SECONDS = 10
LOOK_SECONDS = 3  # between two counts of the workers
WORKER_SECONDS = 300  # without any worker; a batch system may take its time to start the first

Files = Sequence[tuple[int, Path]]  # (number in the run, path) of each


def predict_files(
    spec: ModelSpec, weights: Mapping[str | None, Path], files: Files, config: PredictionConfig
) -> Generator[Result, None, None]:
    """Yield what `common.prediction.predictor.predict_files` yields, predicted by the workers at `config.dask`.

    Closing the generator cancels what is under way.  weights: of `find_weights`.  Raises UserError where scheduler or
    workers are missing, lost or unfit.
    """
    if not files:
        return
    config = replace(config, batch_size=config.batch_size or spec.test_batch_size)  # the same on all workers
    client = _connect(str(config.dask))
    try:
        yield from Run(client, config, worker.job_of(spec, weights, config), files).results()
    finally:
        with contextlib.suppress(Exception):  # a scheduler that is gone has nothing left to cancel
            client.close(timeout=2)


def _connect(address: str) -> distributed.Client:
    """Return a client of the scheduler at `address`; raise UserError where none of this version answers."""
    logging.disable(logging.CRITICAL)  # what matters of Dask's messages ends in one line of ours
    warnings.simplefilter("ignore", VersionMismatchWarning)
    dask.config.set({"distributed.comm.timeouts.connect": CONNECT_SECONDS})
    here = get_versions()["packages"]["distributed"]
    try:
        there = asyncio.run(asyncio.wait_for(_scheduler_version(address), CONNECT_SECONDS + 1))
    except Exception as error:  # whatever may answer at a port
        reason = " ".join(str(error).split()) or f"no valid reply within {CONNECT_SECONDS} s"
        raise UserError(f"--dask {address}: no dask scheduler answers there ({reason})") from None
    if here != there:
        raise UserError(f"{address}: has distributed {there}, here is {here}; install the same everywhere")
    return distributed.Client(address, timeout=CONNECT_SECONDS)


async def _scheduler_version(address: str) -> str:
    """The version of the scheduler's package.  A Client would wait forever for a port that is no scheduler's."""
    security = distributed.Security().get_connection_args("client")
    async with distributed.rpc(address, timeout=CONNECT_SECONDS, connection_args=security) as scheduler:
        identity: Any = await scheduler.identity()
        if identity["type"] != "Scheduler":
            raise UserError(f"a {identity['type']}")
        versions: Any = await scheduler.versions()
        return versions["packages"]["distributed"]


@dataclass(eq=False)
class Part:
    """Some files, (number in the run, path) of each, that go out together; their results, when they are back."""

    files: list[tuple[int, Path]]
    results: list[Result] | None = None


class Run:
    """A run over many files, one part at a time on each worker.

    Dask could queue all parts at the workers by itself.  But it blames everything that is queued at a worker that dies,
    so that some parts would be given up for what others did; and its `as_completed` does not return while there is no
    worker.
    """

    def __init__(self, client: distributed.Client, config: PredictionConfig, job: dict, files: Files):
        self.client, self.address, self.job, self.batch_size = client, config.dask, job, config.batch_size or 1
        self.new, self.again = self._split(files), []  # parts to send
        self.parts: list[Part] = []  # from the first whose results are not yielded
        self.running: dict[distributed.Future, Part] = {}
        self.batches = max(4 // self.batch_size, 1)  # in the next part: with less in it, a batch takes as long
        self.proven = False  # whether a part has come back
        self.workers, self.counted = 0, 0.0  # how many take parts, and when that was counted

    def results(self) -> Iterator[Result]:
        """Yield (path, rows or UserError) for each of the files, in order."""
        with contextlib.suppress(distributed.CancelledError, OSError):  # what a lost connection makes of any call
            self._count_workers()
            while self.client.status == "running":
                self._submit()
                if not self.parts:
                    return
                self._collect()
                while self.parts and (results := self.parts[0].results) is not None:
                    self.parts.pop(0)
                    yield from results
        raise UserError(f"{self.address}: the scheduler is gone; what was saved is kept, --resume goes on with it")

    def _split(self, files: Files) -> Iterator[Part]:
        """Parts of whole batches that take PART_SECONDS, as known by then; a clip, which may be long, is a part."""
        for clips, group in itertools.groupby(files, lambda file: is_clip(file[1])):
            while some := list(itertools.islice(group, 1 if clips else self.batches * self.batch_size)):
                yield Part(some)

    def _submit(self) -> None:
        """Send parts until each worker has one."""
        files = sum(len(part.files) for part in self.parts)
        while len(self.running) < self.workers:
            if self.again:
                part = self.again.pop(0)
            elif files < WAITING and (part := next(self.new, None)):
                self.parts.append(part)
                files += len(part.files)
            else:
                return
            sent = [(number, str(path.absolute())) for number, path in part.files]
            # As bytes, so that the scheduler, which unpickles functions, needs no checkout.
            call = pickle.dumps(worker.Call(worker.start, self.job, sent))
            self.running[self.client.submit(pickle.loads, call, pure=False)] = part

    def _collect(self) -> None:
        """Wait until some parts are back, or it is time to count the workers."""
        with contextlib.suppress(distributed.TimeoutError):
            distributed.wait(list(self.running), LOOK_SECONDS, "FIRST_COMPLETED")
        for future in [future for future in self.running if future.done()]:
            self._receive(future, self.running.pop(future))
        if time.monotonic() - self.counted > LOOK_SECONDS:
            self._count_workers()

    def _receive(self, future: distributed.Future, part: Part) -> None:
        """Take the results of a part that is back."""
        try:
            place, outcome, content = future.result(CONNECT_SECONDS)
        except distributed.TimeoutError:  # the results were lost with their worker in this moment
            self.again.append(part)
            return
        except distributed.KilledWorker as error:
            self._give_up(part, error)
            return
        except ImportError as error:
            raise self._lacking(error) from None
        if outcome == "failed":
            raise RuntimeError(f"worker {place} says\n{content}")
        if outcome == "refused":
            raise UserError(f"worker {place}: {content}")
        seconds, results = content
        part.results = [self._result(place, path, *result) for (_, path), result in zip(part.files, results)]
        self.proven = True
        if not is_clip(part.files[0][1]):
            files = min(2, PART_SECONDS / max(seconds, 0.01)) * len(part.files)
            self.batches = max(int(min(files, LARGEST_PART) / self.batch_size), 1)

    def _lacking(self, error: ImportError) -> UserError:
        """Name a worker that cannot import `worker.start`, and say why."""
        missing = error.name or "common"
        found: Any = self.client.run(importlib.util.find_spec, missing, on_error="return")
        place = next((place for place, spec in found.items() if not isinstance(spec, ModuleSpec)), "")
        if missing.startswith("common."):  # a version from before this package
            why = f"has another version of this project than {self.job['project']}; update it"
        elif missing == "common":
            why = f"does not find this project ({error}); start it with PYTHONPATH={self.job['project']}"
        else:
            why = f"lacks a package ({error}); pip install -r requirements.txt there"
        return UserError(f"worker {place or f'of {self.address}'}: {why}")

    def _result(self, place: str, path: Path, rows: list[dict] | str, there: bool) -> Result:
        """The rows of a file, or the UserError, with the path as the person wrote it."""
        if isinstance(rows, str):
            if not there and os.path.exists(path):
                raise UserError(f"worker {place}: does not see {path}; expected a file system that all workers share")
            return path, UserError(rows.replace(str(path.absolute()), str(path)))
        return path, [{**row, "path": str(path)} for row in rows]

    def _give_up(self, part: Part, error: distributed.KilledWorker) -> None:
        """Name the file that kills its workers; of a part with several, send each as a part first."""
        if len(part.files) > 1:
            single = [Part([file]) for file in part.files]
            place = self.parts.index(part)
            self.parts[place : place + 1] = single
            self.again += single
            return
        [(_, path)] = part.files
        why = f"killed its worker {error.allowed_failures + 1} times, last {error.last_worker.address}; see its log."
        why = f"{path}: {why} Out of memory?"
        if not self.proven:
            raise UserError(f"{why} Nothing was done before")
        part.results = [(path, UserError(why))]

    def _count_workers(self) -> None:
        """Count the workers that take parts; where there is none, wait for one, but not forever."""
        while True:
            workers = self.client.scheduler_info()["workers"].values()
            self.workers, self.counted = sum(one["status"] == "running" for one in workers), time.monotonic()
            if self.workers:
                return
            state = f"all {len(workers)} workers paused, short of memory" if workers else "no workers"
            warn(f"{self.address}: {state}; waiting for one: dask worker {self.address}")
            try:
                self.client.wait_for_workers(1, WORKER_SECONDS)
            except distributed.TimeoutError:
                sent = [f"{part.files[0][1]} to {part.files[-1][1]}" for part in self.running.values()]
                files = f"; under way: {', '.join(sent[:3])}{' ...' if sent[3:] else ''}" if sent else ""
                kept = f"what was saved is kept{files}"
                raise UserError(f"{self.address}: {state} for {WORKER_SECONDS} s; {kept}") from None
