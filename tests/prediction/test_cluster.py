"""`predict --dask`: a real scheduler and real workers, some of which die."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import PROJECT
from skimage import data

from common.cli.predict import DISTRIBUTED
from common.core.errors import UserError
from common.media.images import write_png
from common.prediction.config import PredictionConfig

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}  # as the workers have


class Cluster:
    """A scheduler on this machine, whose tasks may kill one worker, and its worker processes of one thread each."""

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        with socket.create_server(("127.0.0.1", 0)) as free:
            host, port = free.getsockname()
        self.address = f"tcp://{host}:{port}"
        self.scheduler = self._dask("scheduler", "--host", host, "--port", str(port))

    def add_worker(self):
        flags = ("--no-nanny", "--nthreads", "1", "--local-directory", self.folder)
        return self._dask("worker", self.address, *flags)

    def _dask(self, *arguments):
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        settings = {"PYTHONPATH": str(PROJECT), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        with open(self.folder / "dask.log", "a") as log:
            process = subprocess.Popen(command, cwd=PROJECT, env=os.environ | settings, stdout=log, stderr=log)
        self.processes.append(process)
        return process


@pytest.fixture
def dask(tmp_path):
    pytest.importorskip("distributed")
    cluster = Cluster(tmp_path)
    yield cluster
    for process in cluster.processes:
        process.kill()
        process.wait()


@pytest.fixture
def cluster(monkeypatch):
    """The module that hands out the files, with its workers' work replaced by `count_files`."""
    pytest.importorskip("distributed")
    from common.prediction import cluster

    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(cluster.worker, "start", count_files)
    monkeypatch.setattr(cluster.worker, "job_of", lambda *_: {})
    yield cluster
    logging.disable(logging.NOTSET)


def count_files(job, files):
    """What a worker does instead of predicting: rows that tell how many files came together."""
    import os
    import time

    import distributed

    time.sleep(0.5)
    if any("killer" in path for _, path in files):
        os._exit(1)
    rows = [([{"path": path, "files": len(files)}], True) for _, path in files]
    return distributed.get_worker().address, "done", (0.5, rows)


count_files.__module__ = "__main__"  # as that of worker.start


def test_a_worker_that_dies_does_not_show_in_the_result(dask, weight_files, tmp_path):
    victim, _ = dask.add_worker(), dask.add_worker()
    photograph, folder = data.astronaut(), tmp_path / "images"
    for number in range(16):
        write_png(folder / f"img{number}.png", photograph[number : number + 180, number : number + 320])
    (folder / "img7.png").write_bytes(b"no image")

    def predict(output, *flags):
        command = [sys.executable, PROJECT / "LAT.py", "predict", "images", "nowhere.png"]
        command += ["--model_weights_path", weight_files, "--output", tmp_path / output, *flags]
        environment = {**os.environ, **ONE_THREAD}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True)

    run, part = predict("cluster.csv", "--dask", dask.address), tmp_path / ".part-cluster.csv"
    while run.poll() is None and not part.exists():  # the first part is back, more are out
        time.sleep(0.05)
    victim.send_signal(signal.SIGSTOP)  # now it has a part, and keeps it
    time.sleep(2)
    assert run.poll() is None
    victim.kill()
    out, errors = run.communicate(timeout=120)
    local = predict("local.csv")
    local_out, local_errors = local.communicate(timeout=120)
    assert out.replace("cluster", "local") == local_out
    assert [line for line in errors.splitlines() if "waiting for one" not in line] == local_errors.splitlines()
    assert run.returncode == local.returncode == 1
    assert [line.split(": ")[1].endswith(("img7.png", "nowhere.png")) for line in local_errors.splitlines()] == [
        True
    ] * 2
    assert (tmp_path / "cluster.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
    assert len((tmp_path / "local.csv").read_text().splitlines()) == 16


def test_a_file_that_kills_its_workers_is_named_and_workers_come_and_go(dask, cluster, tmp_path, capsys):
    paths = [Path(f"{number}.png") for number in range(2000)]
    paths[9] = Path("killer.png")
    workers = [dask.add_worker() for _ in range(2)]

    def replace():
        for worker in workers:
            worker.wait()
        time.sleep(2)  # without any
        for _ in range(3):
            dask.add_worker()

    threading.Thread(target=replace).start()
    results = cluster.predict_files(None, {}, list(enumerate(paths)), PredictionConfig(dask=dask.address, batch_size=4))
    for path, (result_path, rows) in zip(paths[:20], results):
        assert result_path == path
        if path.stem == "killer":
            assert str(rows).startswith("killer.png: killed its worker 2 times, last tcp://127.0.0.1:")
        else:
            assert [row["path"] for row in rows] == [str(path)]
    printed = capsys.readouterr().err
    assert f"{dask.address}: no workers; waiting for one: dask worker {dask.address}" in printed
    dask.scheduler.kill()
    with pytest.raises(UserError, match="the scheduler is gone; what was saved is kept, --resume goes on with it"):
        list(results)


def test_a_missing_package_is_named_as_it_is_pinned(run, weight_files, tmp_path):
    (tmp_path / "distributed.py").write_text("raise ImportError")
    image = tmp_path / "x.png"
    image.touch()
    flags = ("--model_weights_path", weight_files, "--dask", "localhost:8786")
    done = run("LAT.py", "predict", image, *flags, PYTHONPATH=str(tmp_path))
    expected = f'error: --dask needs a package that is not installed: pip install "{DISTRIBUTED}"\n'
    assert (done.returncode, done.stderr) == (2, expected)
    assert f"{DISTRIBUTED} " in (PROJECT / "requirements-dev.txt").read_text()


def test_an_address_is_checked_before_anything_runs(run):
    done = run("LAT.py", "predict", "x.png", "--dask", "localhost")
    assert done.returncode == 2 and "expected a scheduler's address such as tcp://HOST:8786" in done.stderr


@pytest.mark.parametrize("replies", [False, True])
def test_a_port_without_a_scheduler_is_said(replies, cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        if not replies:
            other.close()
        with pytest.raises(UserError, match=f"--dask {address}: no dask scheduler answers there"):
            next(cluster.predict_files(None, {}, [(0, tmp_path)], PredictionConfig(dask=address)))


def test_a_worker_with_a_project_from_before_the_packages_is_outdated(monkeypatch):
    distributed = pytest.importorskip("distributed")
    from common.prediction.worker import start

    monkeypatch.setattr(distributed, "get_worker", lambda: SimpleNamespace(address="W"))
    job = {"project": "P", "code": "another"}
    outdated = ("W", "refused", "has another version of this project than P; update it")
    assert start(job, []) == outdated
    monkeypatch.setitem(sys.modules, "common.prediction", None)
    assert start(job, []) == outdated


def test_another_version_of_the_program_is_known_by_its_digest(tmp_path):
    pytest.importorskip("distributed")
    from common.prediction.worker import code_digest

    def digest_with(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return code_digest(tmp_path)

    code = ["LAT.py", "TENTH.py", "common/__init__.py", "common/models/deep/new.py"]
    other = [".hidden.py", "common/.part-x.py", "common/.ipynb_checkpoints/x.py", "tests/test_x.py", "common/page.html"]
    digests = [digest_with(name, "1") for name in code]
    assert len(set(digests)) == len(code)
    assert {digest_with(name, "1") for name in other} == {digests[-1]}
    assert digest_with("common/__pycache__/x.cpython-311.pyc", "1") == digests[-1]
    assert digest_with("common/models/deep/new.py", "2") not in digests
