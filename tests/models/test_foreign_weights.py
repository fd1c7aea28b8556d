"""Weight files from elsewhere: what lies in another file or is too large is never read; other layouts are named."""

import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import small
from conftest import PROJECT, refused

from common.models.released import identify
from common.models.weight_files import inspect, load
from common.models.weight_search import find


@pytest.fixture
def file(small_weights, tmp_path):
    """A copy of the weight file of small.py's network."""
    return shutil.copyfile(small_weights, tmp_path / "small.h5")


GROUP, NAME = "frozen", "frozen/frozen/kernel:0"


def replace(file, make):
    """Replace a dataset of a weight file by what `make(opened, its former array)` stores as NAME."""
    with h5py.File(file, "r+") as opened:
        array = opened[NAME][()]
        del opened[NAME]
        make(opened, array)


def assert_left_alone(file, *expected):
    """`load` and `find` refuse a file with the same line, and the model keeps its weights."""
    model = small.build()
    before = model.get_weights()
    for message in (refused(load, model, file), refused(find, file, ["small.h5"], "small")):
        assert message.startswith(f"{file}: ") and all(part in message for part in expected), message
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_other_files_are_never_read(file, small_weights, tmp_path):
    whole = file.read_bytes()
    kept = tmp_path / "numbers.bin"
    kept.write_bytes(bytes(4 * 10**5))

    def outside(opened, array):
        opened.create_dataset(NAME, array.shape, "float32", external=[(str(kept), 0, array.nbytes)])

    def linked(opened, array):
        opened[NAME] = h5py.ExternalLink(str(small_weights), NAME)

    def gathered(opened, array):
        layout = h5py.VirtualLayout(array.shape, "float32")
        layout[:] = h5py.VirtualSource(str(small_weights), NAME, array.shape)
        opened.create_virtual_dataset(NAME, layout)

    def by_soft_link(opened, array):
        opened["aside"] = h5py.ExternalLink(str(small_weights), GROUP)
        opened[NAME] = h5py.SoftLink("/aside/frozen/kernel:0")

    for make in (outside, linked, gathered, by_soft_link):
        file.write_bytes(whole)
        replace(file, make)
        where = {linked: f"/{NAME} is a link to", by_soft_link: "/aside is a link to"}.get(make, f"/{NAME} lies in")
        assert_left_alone(file, f"{where} another file; no Keras writes such weight files")

    file.write_bytes(whole)
    with h5py.File(file, "r+") as opened:
        del opened[GROUP]
        opened[GROUP] = h5py.ExternalLink(str(small_weights), GROUP)
    assert_left_alone(file, f"/{GROUP} is a link to another file")

    file.write_bytes(whole)
    replace(file, lambda opened, array: opened.update({"own": array, NAME: h5py.SoftLink("/own")}))
    load(small.build(), file)  # a link inside of the file is none to another


def test_an_array_of_another_shape_or_type_is_never_read(file, monkeypatch):
    whole, model = file.read_bytes(), small.build()
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda *_: pytest.fail("an array was read"))
    with h5py.File(file, "r+") as opened:
        del opened[NAME]
        opened.create_dataset(NAME, (10**6, 10**6), "float32")
    assert f"({GROUP}) holds (1000000, 1000000), small expects" in refused(load, model, file)
    file.write_bytes(whole)
    with h5py.File(file, "r+") as opened:
        del opened[NAME]
        opened.create_dataset(NAME, (3, 3, 3, 4), h5py.string_dtype())
    assert "holds something else than numbers" in refused(load, model, file) == refused(inspect, file)


def test_an_array_in_pieces_larger_than_itself_is_never_read(file):
    settings = {"maxshape": (None, 3, 3, 4), "chunks": (10**7, 3, 3, 4), "dtype": "float32"}
    replace(file, lambda opened, array: opened.create_dataset(NAME, array.shape, **settings))
    assert_left_alone(file, f"/{NAME} is stored in pieces larger than itself")


def test_numbers_that_float32_cannot_hold_are_refused(file):
    replace(file, lambda opened, array: opened.create_dataset(NAME, data=np.full(array.shape, 1e300)))
    assert "holds NaN or infinite weights" in refused(load, small.build(), file)


def test_lists_that_keras_splits_are_named(file):
    whole = file.read_bytes()
    with h5py.File(file, "r+") as opened:
        opened.attrs["layer_names0"] = opened.attrs["layer_names"]
        del opened.attrs["layer_names"]
    assert_left_alone(file, "its list of layers is split into layer_names0, layer_names1 ...")
    file.write_bytes(whole)
    with h5py.File(file, "r+") as opened:
        opened[GROUP].attrs["weight_names0"] = opened[GROUP].attrs["weight_names"]
        del opened[GROUP].attrs["weight_names"]
    assert_left_alone(file, f"the list of the arrays of {GROUP} is split into weight_names0 ...")


def test_a_model_that_was_a_layer_of_another_is_named(file):
    with h5py.File(file, "r+") as opened:
        groups = [opened[name] for name in opened.attrs["layer_names"]]
        arrays = {key: group[key][()] for group in groups for key in group.attrs["weight_names"]}
        inner = opened.create_group("small")
        inner.update(arrays)
        inner.attrs["weight_names"] = list(arrays)
        opened.attrs["layer_names"] = ["input_1", "small"]
        opened.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
    expected = f"the group small holds all {len(arrays)} arrays of a model that was a layer of another one; load it"
    message = refused(load, small.build(), file)
    assert expected in message and message.endswith("model.get_layer('small').save_weights(FILE.h5)")
    assert expected in refused(lambda: identify(inspect(file)))


@pytest.mark.parametrize("spoil", [lambda data: data[:-100], lambda data: b"<html>"])
@pytest.mark.parametrize("flag", ["--model_weights_path", "--JND_Recon_Models_Path"])
def test_what_is_no_weight_file_is_found_before_keras_is_imported(flag, spoil, file, rootdir, tmp_path):
    file.write_bytes(spoil(file.read_bytes()))
    paths = {"--model_weights_path": file, "--JND_Recon_Models_Path": file, "--data_dir": rootdir}
    if flag != "--model_weights_path":
        paths |= {"--checkpoint_path": tmp_path / "new", "--csv_log_path": tmp_path / "new"}
        del paths["--model_weights_path"]
    else:
        paths["--result_path"] = tmp_path / "new"
    command = "test" if flag == "--model_weights_path" else "train"
    arguments = [command, "--jnd_value", "JND1", *(str(part) for pair in paths.items() for part in pair)]
    program = "import sys, runpy\nclass Refuse:\n def find_spec(self, name, *_):\n"
    program += "  assert name.split('.')[0] not in ('keras', 'tensorflow'), name\n"
    program += "sys.meta_path.insert(0, Refuse())\nrunpy.run_path('LAT.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program, *arguments], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith(f"error: {file}: "), done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "new").exists()
