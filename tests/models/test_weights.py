"""Weight files: the released layout in and out, and a clear line for every file that does not fit."""

import shutil

import h5py
import numpy as np
import pytest
from conftest import refused

import LAT
from common.models import weight_search
from common.models.autoencoder import build_autoencoder
from common.models.weight_files import load, save
from common.models.weight_search import find


@pytest.fixture(scope="module")
def autoencoder():
    return build_autoencoder()


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


def test_levels_of_several_folders_are_said(small_weights, tmp_path, capsys):
    """One of them may be the control of an experiment."""
    for folder, level in (("LAT_JND1_shuffled", 1), ("LAT_JND2", 2)):
        (tmp_path / folder).mkdir()
        shutil.copy(small_weights, tmp_path / folder / f"BestModelJND{level}.h5")
    assert list(weight_search.find_weights(LAT.LAT, None, tmp_path)) == ["JND1", "JND2"]
    assert "JND1 from LAT_JND1_shuffled, JND2 from LAT_JND2; if these do not" in capsys.readouterr().err
    weight_search.find_weights(LAT.LAT, "JND1", tmp_path)
    assert not capsys.readouterr().err


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
