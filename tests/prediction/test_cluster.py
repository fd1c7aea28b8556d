"""`predict --dask`: a real scheduler and real workers, some of which die."""

import contextlib
import json
import logging
import os
import pickle
import pickletools
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest.mock import Mock

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

    def __init__(self, folder, protocol="tcp"):
        self.folder, self.processes = folder, []
        with socket.create_server(("127.0.0.1", 0)) as free:
            host, port = free.getsockname()
        self.address = f"{protocol}://{host}:{port}"
        self.scheduler = self._dask("scheduler", "--host", host, "--port", str(port), "--protocol", protocol)
        for _ in range(600):  # a busy machine takes its time
            with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
                return
            time.sleep(0.1)

    def add_worker(self, *folders):
        """Start a worker whose modules lie in these folders, by default in this project and beside this file."""
        flags = ("--no-nanny", "--nthreads", "1", "--local-directory", self.folder)
        return self._dask("worker", self.address, *flags, folders=folders or (PROJECT, Path(__file__).parent))

    def _dask(self, *arguments, folders=()):
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        settings = {"PYTHONPATH": ":".join(map(str, folders)), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}
        with open(self.folder / "dask.log", "a") as log:
            process = subprocess.Popen(command, cwd=self.folder, env=os.environ | settings, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def dask(tmp_path):
    pytest.importorskip("distributed")
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(monkeypatch):
    """The module that hands out the files, with its workers' work replaced by that of counting.py."""
    pytest.importorskip("distributed")
    import counting

    from common.prediction import cluster

    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.5)
    monkeypatch.setattr(cluster.worker, "start", counting.count_files)
    monkeypatch.setattr(cluster.worker, "job_of", lambda *_: {})
    yield cluster
    logging.disable(logging.NOTSET)


def test_a_worker_that_dies_does_not_show_in_the_result(dask, weight_files, tmp_path):
    from distributed import Client

    victim = dask.add_worker()
    with Client(dask.address) as client:
        client.wait_for_workers(1)
        [address] = client.processing()
    victim.send_signal(signal.SIGSTOP)  # so it keeps the part that it gets, however fast the other worker is
    dask.add_worker()
    photograph, folder = data.astronaut(), tmp_path / "images"
    for number in range(16):
        write_png(folder / f"img{number}.png", photograph[number : number + 180, number : number + 320])
    (folder / "img7.png").write_bytes(b"no image")

    def predict(output, *flags):
        command = [sys.executable, PROJECT / "LAT.py", "predict", "images", "nowhere.png"]
        command += ["--model_weights_path", weight_files, "--output", tmp_path / output, *flags]
        environment = {**os.environ, **ONE_THREAD}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True)

    run = predict("cluster.csv", "--dask", dask.address)
    with Client(dask.address) as client:
        while run.poll() is None and not client.processing()[address]:
            time.sleep(0.05)
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


def test_a_scheduler_that_dies_while_it_sends_a_result_is_gone(cluster, monkeypatch):
    closed = cluster.distributed.comm.CommClosedError("in <TCP (closed) ConnectionPool.gather>: ConnectionResetError")
    client = Mock(status="running", **{"scheduler_info.return_value": {"workers": {"one": {"status": "running"}}}})
    client.submit.return_value.result.side_effect = closed
    monkeypatch.setattr(cluster.distributed, "wait", Mock())
    run = cluster.Run(client, PredictionConfig(dask="tcp://gone:8786"), {}, [(0, Path("a.png"))])
    with pytest.raises(UserError, match="tcp://gone:8786: the scheduler is gone; what was saved is kept"):
        list(run.results())


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


def test_a_message_holds_no_code():
    pytest.importorskip("distributed")
    from common.prediction import worker

    job, files = {"code": "x", "weights": {"JND1": ("/a.h5", "1a2b")}}, [(0, "/a.png")]
    message = pickle.dumps(worker.Call(worker.start, job, files))
    strings, names = [], []
    for operation, text, _ in pickletools.genops(message):
        if operation.name == "STACK_GLOBAL":
            names.append(strings[-2:])
        elif isinstance(text, str):
            strings.append(text)
        assert operation.name not in ("GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD", "EXT1")
    assert names == [["common.prediction.worker", "start"]]


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"worker.py": "def start(job, files): return 'W', 'refused', 'its own'"}, "W: its own"),
        ({"worker.py": "import lacking"}, r"tcp://.*: lacks a package \(No module named 'lacking'\); pip install"),
        ({}, "tcp://.*: has another version of this project than .*; update it"),
        (None, r"tcp://.*: does not find this project \(No module .*\); start it with PYTHONPATH="),
    ],
)
def test_a_worker_runs_its_own_checkout(files, line, dask, monkeypatch, tmp_path):
    from common.prediction import cluster

    monkeypatch.setattr(cluster.worker, "job_of", lambda *_: {"project": str(PROJECT), "code": cluster.worker.CODE})
    folder = tmp_path / "common" / "prediction"
    for name, text in (files or {}).items():
        folder.mkdir(parents=True)
        for package in (folder.parent, folder):
            (package / "__init__.py").touch()
        (folder / name).write_text(text)
    if files == {}:
        (tmp_path / "common").mkdir()
        (tmp_path / "common/__init__.py").touch()
    dask.add_worker(tmp_path)
    config = PredictionConfig(dask=dask.address)
    with pytest.raises(UserError, match=f"worker {line}"):
        next(cluster.predict_files(None, {}, [(0, tmp_path / "a.png")], config))
    logging.disable(logging.NOTSET)


@pytest.fixture
def certificates(tmp_path):
    """Two settings of distributed.comm: a certificate of our own authority, and one of another's."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    settings = []
    for name in ("ours", "theirs"):
        key = ("-newkey", "rsa:2048", "-nodes", "-subj")
        openssl("req", "-x509", *key, "/CN=authority", "-keyout", f"{name}-ca.key", "-out", f"{name}-ca.pem")
        openssl("req", *key, "/CN=dask", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        authority = ("-CA", f"{name}-ca.pem", "-CAkey", f"{name}-ca.key", "-CAcreateserial")
        openssl("x509", "-req", "-in", f"{name}.csr", *authority, "-out", f"{name}.pem")
        own = {"cert": str(tmp_path / f"{name}.pem"), "key": str(tmp_path / f"{name}.key")}
        tls = {"ca-file": str(tmp_path / "ours-ca.pem"), "scheduler": own, "worker": own, "client": own}
        settings.append({"require-encryption": True, **{f"tls.{key}": value for key, value in tls.items()}})
    return settings


def test_over_tls_who_has_no_certificate_of_ours_is_kept_out(certificates, cluster, tmp_path, monkeypatch):
    import dask as package

    ours, theirs = certificates
    tls = {key.partition(".")[2]: value for key, value in ours.items() if "." in key}
    configuration = {"distributed": {"comm": {"require-encryption": True, "tls": tls}}}
    (tmp_path / "dask.yaml").write_text(json.dumps(configuration))  # which is YAML too
    monkeypatch.setenv("DASK_CONFIG", str(tmp_path / "dask.yaml"))
    dask = Cluster(tmp_path, "tls")
    try:
        dask.add_worker()
        files = [(number, Path(f"{number}.png")) for number in range(3)]

        def predict(settings, address=dask.address):
            with package.config.set({f"distributed.comm.{key}": value for key, value in settings.items()}):
                return list(cluster.predict_files(None, {}, files, PredictionConfig(dask=address)))

        assert [(str(path), rows[0]["path"]) for path, rows in predict(ours)] == [(f"{n}.png",) * 2 for n in range(3)]
        monkeypatch.setattr(cluster, "CONNECT_SECONDS", 3)
        for settings, address in ((theirs, dask.address), ({}, dask.address), ({}, dask.address.replace("tls", "tcp"))):
            with pytest.raises(UserError, match=f"--dask {address}: no dask scheduler answers there"):
                predict(settings, address)
    finally:
        dask.stop()


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
