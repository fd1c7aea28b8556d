"""`predict --dask`: a real scheduler and real workers, one of which dies."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import PROJECT
from skimage import data

from common.cli.predict import DISTRIBUTED
from common.core.errors import UserError
from common.media.images import write_png

ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}  # as the workers have


@pytest.fixture
def workers(tmp_path):
    """The address of a scheduler on this machine, and its two worker processes, of one thread each."""
    distributed = pytest.importorskip("distributed")
    started = []

    def dask(*arguments):
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        log, environment = open(tmp_path / "dask.log", "a"), {**os.environ, "PYTHONPATH": str(PROJECT)}
        started.append(subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log))
        return started[-1]

    with socket.create_server(("127.0.0.1", 0)) as free:
        host, port = free.getsockname()
    address = f"tcp://{host}:{port}"
    dask("scheduler", "--host", host, "--port", str(port))
    flags = ("--no-nanny", "--nthreads", "1", "--local-directory", str(tmp_path))
    both = [dask("worker", address, *flags) for _ in range(2)]
    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    yield address, both
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_that_dies_does_not_show_in_the_result(workers, weight_files, tmp_path):
    address, (victim, _) = workers
    photograph, folder = data.astronaut(), tmp_path / "pictures"
    for number in range(24):
        write_png(folder / f"img{number}.png", photograph[number : number + 180, number : number + 320])
    (folder / "img7.png").write_bytes(b"no picture")

    def predict(output, *flags):
        command = [sys.executable, PROJECT / "LAT.py", "predict", "pictures", "nowhere.png"]
        command += ["--model_weights_path", weight_files, "--output", tmp_path / output, *flags]
        environment = {**os.environ, **ONE_THREAD}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True)

    run, part = predict("cluster.csv", "--dask", address), tmp_path / ".part-cluster.csv"
    while run.poll() is None and not part.exists():  # the first part is back, more are out
        time.sleep(0.05)
    victim.send_signal(signal.SIGSTOP)  # now it has a part, and keeps it
    time.sleep(2)
    assert run.poll() is None
    victim.kill()
    said, wrong = run.communicate(timeout=120)
    alone = predict("alone.csv")
    assert (said.replace("cluster", "alone"), wrong) == alone.communicate(timeout=120)
    assert run.returncode == alone.returncode == 1
    assert [line.split(": ")[1].endswith(("img7.png", "nowhere.png")) for line in wrong.splitlines()] == [True, True]
    assert (tmp_path / "cluster.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert len((tmp_path / "alone.csv").read_text().splitlines()) == 24


def test_a_missing_package_is_named_as_it_is_pinned(run, weight_files, tmp_path):
    (tmp_path / "distributed.py").write_text("raise ImportError")
    picture = tmp_path / "x.png"
    picture.touch()
    flags = ("--model_weights_path", weight_files, "--dask", "localhost:8786")
    done = run("LAT.py", "predict", picture, *flags, PYTHONPATH=str(tmp_path))
    expected = f'error: --dask needs a package that is not installed: pip install "{DISTRIBUTED}"\n'
    assert (done.returncode, done.stderr) == (2, expected)
    assert f"{DISTRIBUTED} " in (PROJECT / "requirements-dev.txt").read_text()


def test_an_address_is_checked_before_anything_runs(run):
    done = run("LAT.py", "predict", "x.png", "--dask", "localhost")
    assert done.returncode == 2 and "expected a scheduler's address such as tcp://HOST:8786" in done.stderr


@pytest.mark.parametrize("answers", [False, True])
def test_a_port_without_a_scheduler_is_said(answers, monkeypatch, tmp_path):
    pytest.importorskip("distributed")
    from common.prediction import cluster
    from common.prediction.config import PredictionConfig

    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        if not answers:
            other.close()
        try:
            with pytest.raises(UserError, match=f"--dask {address}: no dask scheduler answers there"):
                next(cluster.predict_files(None, {}, [(0, tmp_path)], PredictionConfig(dask=address)))
        finally:
            logging.disable(logging.NOTSET)
