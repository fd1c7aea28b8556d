"""What several tests share: golden weight files, a small rootdir of photographs, the programs as a user runs them."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime's, where a test imports it
os.environ["KERAS_BACKEND"] = "tensorflow"  # chosen, so that `predict` does not export each test's weights
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # golden numbers are those of float32, which a GPU rounds

import h5py
import numpy as np
import pytest
from golden import seeded
from moving import film
from skimage import data

from common.core.errors import UserError
from common.media.ffmpeg_process import find_ffmpeg
from common.media.images import write_png

PROJECT = Path(__file__).parent.parent


def pytest_configure():
    """A shell that starts the tests in the background lets them, and all that they start, ignore Ctrl-C: not here."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden(tmp_path_factory):
    """What the released programs predicted, and the images and weight files they saw."""
    return Golden(tmp_path_factory.mktemp("golden"))


class Golden:
    predictions = json.loads((seeded.HERE / "golden.json").read_text())
    layouts = seeded.LAYOUTS
    images = seeded.images(352, 640).astype("float32")

    def __init__(self, folder):
        self.folder = folder

    def write_weights(self, model, path):
        """A weight file of `model`, a key of layouts.json, as the released programs store it: computed once, copied."""
        kept = self.folder / f"{model}.h5"
        if not kept.is_file():
            seeded.write_h5(model, kept)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, path)
        return path

    @staticmethod
    def write_hollow(layers, path):
        """A weight file of the right names and shapes, whose arrays were never written: a few KB, however large."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file.attrs["layer_names"] = [layer.encode() for layer, _ in layers]
            for layer, entries in layers:
                file.create_group(layer).attrs["weight_names"] = np.array([name.encode() for name, _ in entries], "S")
                for name, shape in entries:
                    file[layer].create_dataset(name, shape, "float32")

    @staticmethod
    def write_images(folder):
        seeded.write_images(folder)
        return Path(folder) / "640x352"


def zipped(members):
    """The bytes of a zip file of `members`: {name or ZipInfo: bytes}."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def refused(call, *arguments, **settings):
    """The message with which a call refuses, one line."""
    with pytest.raises(UserError) as error:
        call(*arguments, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture(scope="session")
def weight_files(golden, tmp_path_factory):
    """A folder with LATJND1.h5 and JND1Reconstruction.h5."""
    folder = tmp_path_factory.mktemp("weights")
    golden.write_weights("LAT", folder / "LATJND1.h5")
    golden.write_weights("Reconstruction", folder / "JND1Reconstruction.h5")
    return folder


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory):
    """The weight file of small.py's network, untrained."""
    import small

    from common.models.weight_files import save

    file = tmp_path_factory.mktemp("small") / "Best.h5"
    save(small.build(), file)
    return file


def write_rootdir(root, height=180, width=320):
    """Write a rootdir of 6 train, 3 valid and 3 test crops of real photographs, with made-up labels."""
    from common.data.labels import write_labels

    photographs = {"train": data.coffee(), "valid": data.rocket(), "test": data.astronaut()}
    for split, count in (("train", 6), ("valid", 3), ("test", 3)):
        names = [f"img{number}.png" for number in range(1, count + 1)]
        for number, name in enumerate(names):
            frame = photographs[split][8 * number : 8 * number + height, 8 * number : 8 * number + width]
            write_png(root / split / name, frame)
            write_png(root / f"jnd1{split}" / name, frame // 16 * 16)  # visibly worse
        levels = np.array([[22, 27, 31]]) + np.arange(count)[:, None]
        write_labels(root / split, names, levels)
    return root


@pytest.fixture(scope="session")
def rootdir(tmp_path_factory):
    """What `write_rootdir` writes."""
    return write_rootdir(tmp_path_factory.mktemp("rootdir"))


@pytest.fixture
def photographs(tmp_path):
    """A folder of two photographs, and one of a third below it."""
    folder = tmp_path / "photographs"
    write_png(folder / "a10.png", data.astronaut()[:360])
    write_png(folder / "a9.png", data.coffee()[:338, :600])
    write_png(folder / "deep" / "b.png", np.rot90(data.coffee()).copy())
    return folder


@pytest.fixture(scope="session")
def run():
    """Run `python ARGUMENTS...` in the project's folder, as a user would: stdout, stderr, returncode."""

    def run(*arguments, **environment):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=PROJECT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
        )

    return run


@pytest.fixture
def waiting_ffmpeg(tmp_path_factory):
    """waiting_ffmpeg(condition): a program as ffmpeg that starts nothing while a condition of the shell holds.

    So a stop comes in the middle of the work, however fast the machine is.
    """

    def write(condition):
        path = tmp_path_factory.mktemp("waiting") / "ffmpeg"
        path.write_text(f'#!/bin/sh\nif {condition}; then exec sleep 600; fi\nexec "{find_ffmpeg()}" "$@"\n')
        path.chmod(0o755)
        return str(path)

    return write


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Three shots of 12 frames, with sound and colour tags."""
    return film(tmp_path_factory.mktemp("clips") / "film.mp4", color_primaries="bt709", colorspace="bt709")
