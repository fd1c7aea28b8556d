"""Weight files: the released layout in and out, and a clear line for every file that does not fit."""

import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import small
from conftest import PROJECT

import LAT
from common.core.errors import UserError
from common.models import weight_search
from common.models.autoencoder import build_autoencoder
from common.models.released import identify
from common.models.weight_files import inspect, load, save
from common.models.weight_search import find


@pytest.fixture(scope="module")
def autoencoder():
    return build_autoencoder()


def refused(call, *arguments):
    """The message with which a call refuses, one line."""
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_written_has_the_released_layout(weight_files, golden, tmp_path):
    network = LAT.build_model(build_autoencoder())
    load(network, weight_files / "LATJND1.h5")
    save(network, tmp_path / "new" / "LATJND1.h5")
    with h5py.File(weight_files / "LATJND1.h5") as released, h5py.File(tmp_path / "new" / "LATJND1.h5") as ours:
        assert set(ours.attrs) == set(released.attrs)
        assert ours.attrs["backend"] == "tensorflow" or ours.attrs["backend"] == b"tensorflow"

        def arrays(file):
            groups = [file[name] for name in file.attrs["layer_names"]]
            return [group[name] for group in groups for name in group.attrs["weight_names"]]

        pairs = list(zip(arrays(released), arrays(ours), strict=True))
        assert len(pairs) == sum(len(entries) for _, entries in golden.layouts["LAT"]["layers"])
        for theirs, mine in pairs:
            assert theirs.dtype == mine.dtype == "float32"
            assert theirs.name.split("/")[-1] == mine.name.split("/")[-1]  # kernel:0, gamma:0, ...
            np.testing.assert_array_equal(theirs[()], mine[()])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["LATJND1.h5"]


def test_keras_2_loads_what_is_written_and_predicts_the_same(golden, tmp_path):
    """As the released programs would: Keras 2 builds a network of its own and takes the weights by order."""
    import tf_keras
    from tf_keras import layers

    ours = build_autoencoder(shape=(32, 64, 3))
    save(ours, tmp_path / "weights.h5")

    theirs = tf_keras.Sequential([tf_keras.Input((32, 64, 3))])
    for filters in (128, 128, 128):
        theirs.add(layers.Conv2D(filters, 5, strides=2, padding="same"))
        theirs.add(layers.LeakyReLU(0.05))
    theirs.add(layers.Conv2D(192, 5, strides=2, padding="same"))
    for filters in (128, 128, 128):
        theirs.add(layers.Conv2DTranspose(filters, 5, strides=2, padding="same"))
        theirs.add(layers.LeakyReLU(0.05))
    theirs.add(layers.Conv2DTranspose(3, 5, strides=2, padding="same"))
    theirs.load_weights(tmp_path / "weights.h5")

    images = golden.images[:, :32, :64]
    expected = ours.predict_on_batch(images)
    np.testing.assert_allclose(theirs.predict_on_batch(images), expected, rtol=1e-4, atol=1e-3)


def test_a_file_for_another_model_is_refused_before_anything_changes(autoencoder, golden, tmp_path):
    path = golden.write_weights("Reconstruction", tmp_path / "JND1Reconstruction.h5")
    before = [array.copy() for array in autoencoder.get_weights()]
    for shape in ((5, 5, 128, 128), (5, 5, 192, 128)):  # another latent, and as many numbers in another order
        with h5py.File(path, "r+") as file:
            del file["conv2d_3/conv2d_3/kernel:0"]
            file["conv2d_3/conv2d_3/kernel:0"] = np.zeros(shape, "float32")
        message = refused(load, autoencoder, path, "LAT's encoder")
        assert message.startswith(str(path))
        assert "layer 4 of 8" in message and f"holds {shape}, LAT's encoder expects (5, 5, 128, 192)" in message
        assert message.endswith("is this a file for another model, or another --input_size?")
    for old, new in zip(before, autoencoder.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_file_with_layers_missing_or_too_many_is_refused(autoencoder, golden, tmp_path):
    path = golden.write_weights("Reconstruction", tmp_path / "other.h5")
    with h5py.File(path) as file:
        names = list(file.attrs["layer_names"])
    for listed, count in ((names[:-1], 7), ([*names, names[-1]], 9)):
        with h5py.File(path, "r+") as file:
            file.attrs["layer_names"] = listed
        line = f"holds {count} layers with weights, autoencoder expects 8"
        assert line in refused(load, autoencoder, path)


def test_damaged_files_are_refused(autoencoder, golden, tmp_path):
    whole = golden.write_weights("Reconstruction", tmp_path / "whole.h5").read_bytes()
    for name, content, reason in (
        ("cut.h5", whole[: len(whole) // 2], "damaged or cut off"),
        ("text.h5", b"<html>Not found</html>", "not an HDF5 file (22 bytes)"),
        ("empty.h5", b"", "not an HDF5 file (0 bytes)"),
    ):
        (tmp_path / name).write_bytes(content)
        message = refused(load, autoencoder, tmp_path / name)
        assert name in message and reason in message


def test_a_file_with_nan_is_refused(autoencoder, golden, tmp_path):
    path = golden.write_weights("Reconstruction", tmp_path / "nan.h5")
    with h5py.File(path, "r+") as file:
        file["conv2d_1/conv2d_1/bias:0"][3] = np.nan
    assert "layer conv2d_1 holds NaN" in refused(load, autoencoder, path)


def test_a_keras_3_file_is_refused(autoencoder, tmp_path):
    autoencoder.save_weights(tmp_path / "new.weights.h5")
    assert "not in the Keras 2 layout" in refused(load, autoencoder, tmp_path / "new.weights.h5")


def test_an_empty_pretrained_says_how_to_fill_it_however_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "pretrained").mkdir()
    monkeypatch.setattr(weight_search, "PRETRAINED", tmp_path / "pretrained")
    monkeypatch.chdir(tmp_path)
    for path in ("pretrained/", tmp_path / "pretrained"):
        assert "weights fetch downloads" in refused(find, path, ["LATJND1.h5"], "LAT")
    assert "weights fetch" not in refused(find, tmp_path, ["LATJND1.h5"], "LAT")


def test_a_folder_is_searched_below(small_weights, tmp_path):
    names = ["LATJND1.h5", "BestModelJND1.h5"]
    assert "no such file or folder" in refused(find, tmp_path / "nowhere", names, "LAT JND1")
    message = refused(find, tmp_path, names, "LAT JND1")
    assert "no .h5 file" in message and "LATJND1.h5 or BestModelJND1.h5 (the name that train gives)" in message

    (tmp_path / "a" / "b").mkdir(parents=True)
    file = tmp_path / "a" / "b" / "LATJND1.h5"
    shutil.copyfile(small_weights, file)
    assert find(tmp_path, names, "LAT JND1") == find(file, names, "LAT JND1") == file
    assert "only LATJND1.h5" in refused(find, tmp_path, ["MJLAT.h5"], "MJ-LAT")

    (tmp_path / "BestModelJND1.h5").touch()
    message = refused(find, tmp_path, names, "LAT JND1")
    assert "2 files" in message and "BestModelJND1.h5" in message and "a/b/LATJND1.h5" in message


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


def test_levels_of_several_folders_are_said(small_weights, tmp_path, capsys):
    """One of them may be the control of an experiment."""
    for folder, level in (("LAT_JND1_shuffled", 1), ("LAT_JND2", 2)):
        (tmp_path / folder).mkdir()
        shutil.copy(small_weights, tmp_path / folder / f"BestModelJND{level}.h5")
    assert list(weight_search.find_weights(LAT.LAT, None, tmp_path)) == ["JND1", "JND2"]
    assert "JND1 from LAT_JND1_shuffled, JND2 from LAT_JND2; if these do not" in capsys.readouterr().err
    weight_search.find_weights(LAT.LAT, "JND1", tmp_path)
    assert not capsys.readouterr().err


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


def test_a_full_disk_leaves_the_old_file(autoencoder, tmp_path, monkeypatch):
    path = tmp_path / "JND1Reconstruction.h5"
    path.write_bytes(b"the old one")

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(OSError):
        save(autoencoder, path)
    assert path.read_bytes() == b"the old one"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
