"""`weights convert`: the same numbers in each layout, and a clear line for every file that is not certain."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
import safetensors.numpy
import small
import yaml
from conftest import refused

from common import load as load_model
from common import weights
from common.models.autoencoder import autoencoder_spec, build_autoencoder
from common.models.backbones import build_network
from common.models.conversion import AUTOENCODERS, FILE
from common.models.registry import get_model, list_models
from common.models.weight_files import ABOUT, digest, inspect, load, save, weights_of
from common.models.weight_search import find, find_weights
from common.reconstruct import find_start

ABOUT_SMALL = {"model": "small", "level": None, "input_size": [16, 16], "file": "Best.h5", "license": "unknown"}


def convert(*arguments):
    assert weights.main(["convert", *map(str, arguments)]) == 0


def arrays_of(file):
    """The bytes of the arrays of a file in the released layout, in order."""
    with h5py.File(file) as opened:
        groups = [opened[name] for name in opened.attrs["layer_names"]]
        return [group[name][()].tobytes() for group in groups for name in group.attrs["weight_names"]]


@pytest.fixture(scope="module")
def chain(weight_files, tmp_path_factory):
    """LAT's golden weights in each layout, each made of the one before."""
    folder = tmp_path_factory.mktemp("chain")
    made = [folder / "LAT", folder / "a.weights.h5", folder / "b.safetensors", folder / "c.h5"]
    for source, destination in zip([weight_files / "LATJND1.h5", *made], made):
        convert(source, destination, *(["--license", "cc-by-4.0"] if destination == made[0] else []))
    return folder


def test_each_layout_has_the_same_numbers_and_says_what_they_are(chain, weight_files):
    assert arrays_of(chain / "c.h5") == arrays_of(weight_files / "LATJND1.h5")
    assert (chain / "b.safetensors").read_bytes() == (chain / "LAT" / FILE).read_bytes()
    said = [inspect(chain / name, any_layout=True).about for name in ("LAT/model.safetensors", "a.weights.h5", "c.h5")]
    assert said[0].pop("order") and said[0] == said[1] == said[2]
    assert (said[0]["model"], said[0]["level"]) == ("LAT", "JND1")
    assert said[0]["input_size"] == (352, 640) and said[0]["license"] == "cc-by-4.0"
    tensors = safetensors.numpy.load_file(chain / "b.safetensors")
    assert tensors["encoder_conv_1/kernel"].shape == (5, 5, 3, 128)
    assert os.stat(chain / "b.safetensors").st_mode == os.stat(chain / "c.h5").st_mode


def test_the_levels_of_a_photograph_are_the_same_to_the_last_bit(chain, weight_files, rootdir):
    image = rootdir / "test" / "img1.png"
    expected = load_model("LAT", "JND1", weights=weight_files)(image).levels
    assert load_model(chain / "LAT")(image).levels == expected
    assert load_model("LAT", weights=chain / "LAT")(image).levels == expected
    assert load_model("LAT", 1, weights=chain / "c.h5")(image).levels == expected


def test_a_folder_is_ready_for_a_model_hub(chain):
    assert sorted(file.name for file in (chain / "LAT").iterdir()) == ["README.md", "config.json", FILE]
    card = (chain / "LAT" / "README.md").read_text()
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "cc-by-4.0" and "keras" in yaml.safe_load(front)["tags"]
    assert text.startswith("\n# LAT JND1\n") and "LAT.py predict image.png --jnd_value JND1" in text
    assert "## Figure" in text and "10500870" in text  # of docs/models/lat.md
    assert "](../" not in text and "## Numbers" not in text  # which lead nowhere there, and are of other weights
    config = json.loads((chain / "LAT" / "config.json").read_text())
    assert config["parameters"] == 9_783_225 and config["sha256"] in text


def test_another_model_or_level_is_refused_before_keras_loads(chain, run, rootdir):
    lat, rec, image = get_model("LAT"), get_model("REC"), rootdir / "test" / "img1.png"
    for spec, level, path in ((lat, "JND2", chain / "LAT"), (rec, "JND1", chain / "LAT" / FILE)):
        message = refused(find_weights, spec, level, path)
        assert f"{FILE}: holds LAT JND1's weights, LATJND1.h5; expected {spec.name}'s" in message
    assert "holds LAT JND1's weights" in refused(find_weights, lat, "JND3", chain / "c.h5")
    assert "holds LAT JND1's weights" in refused(find_weights, get_model("MT_1LJND_VA"), None, chain / "LAT")
    assert "for images of 640x352, expected 320x176" in refused(
        find_weights, lat.resized(176, 320), "JND1", chain / "LAT"
    )
    assert "holds LAT JND1's weights" in refused(find, chain / "LAT", ["JND1Reconstruction.h5"], "LAT's autoencoder")
    assert "expected LAT's, LATJND2.h5" in refused(load_model, chain / "LAT", "JND2")
    with pytest.raises(ValueError, match="holds weights already"):
        load_model(chain / "LAT", weights=chain)
    done = run("REC.py", "predict", image, "--jnd_value", "JND1", "--model_weights_path", chain / "LAT")
    assert done.returncode == 2 and "holds LAT JND1's weights" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_several_files_are_never_chosen_from(chain):
    message = refused(find_weights, get_model("LAT"), "JND1", chain)
    assert "2 files here could be LAT's weights" in message and f"LAT/{FILE}" in message
    assert "expected one .safetensors file" in refused(load_model, chain)


def test_autoencoders_are_weights_too(weight_files, tmp_path, capsys):
    image = tmp_path / "ImgReconstruction.h5"
    shutil.copy(weight_files / "JND1Reconstruction.h5", image)
    convert(weight_files / "JND1Reconstruction.h5", tmp_path / "jnd1")
    convert(image, tmp_path / "image.safetensors")
    autoencoders = get_model("LAT").backbone
    assert autoencoders.find(tmp_path / "jnd1", "JND1", "LAT") == [tmp_path / "jnd1" / FILE]
    message = refused(autoencoders.find, tmp_path / "image.safetensors", "JND1", "LAT")
    assert "holds ImgReconstruction's weights, ImgReconstruction.h5; expected LAT's autoencoder's" in message
    assert find_start(tmp_path / "jnd1" / FILE, tmp_path, "JND2") == tmp_path / "jnd1" / FILE
    assert "no model here that predicts levels" in refused(load_model, tmp_path / "jnd1")
    convert(tmp_path / "jnd1", tmp_path / "mine.h5")
    assert arrays_of(tmp_path / "mine.h5") == arrays_of(weight_files / "JND1Reconstruction.h5")
    capsys.readouterr()
    assert weights.main(["verify", str(tmp_path)]) == 0
    assert f"jnd1/{FILE}: JND1Reconstruction, 2,887,363 parameters" in capsys.readouterr().out


def test_what_is_not_certain_is_asked_for(golden, weight_files, tmp_path):
    golden.write_hollow(golden.layouts["MT_3LJND"]["layers"], tmp_path / "best.h5")
    golden.write_hollow(golden.layouts["LAT"]["layers"], tmp_path / "lat.h5")
    shutil.copy(weight_files / "JND1Reconstruction.h5", tmp_path / "some.h5")
    ae = tmp_path / "ae.weights.h5"
    build_autoencoder(shape=(32, 32, 3)).save_weights(ae)
    target = tmp_path / "new"
    for source, flags, reason in (
        ("best.h5", [], "MT_3LJND or MT_3LJND_VA, whose shapes are the same; add --model"),
        ("lat.h5", [], "the name does not tell the level; add --jnd_value"),
        ("lat.h5", ["--model", "LATE"], "no model 'LATE'; there are LAT, REC"),
        ("some.h5", [], "an autoencoder, the name does not tell which; add --model ImgReconstruction or"),
        ("ae.weights.h5", [], "Keras's own layout does not tell the model; add --model"),
        ("ae.weights.h5", ["--model", "LAT", "--jnd_value", "JND1"], "arrays, LAT expects"),
        ("none.h5", [], "no such file"),
    ):
        assert reason in refused(convert, tmp_path / source, target, *flags), source
    assert "named for JND1, not --jnd_value JND2" in refused(
        convert, weight_files / "LATJND1.h5", target, "--jnd_value", "JND2"
    )
    for name, reason in (("new.onnx", "expected a name that ends in .h5"), ("some.h5", "exists; give another name")):
        assert reason in refused(convert, weight_files / "LATJND1.h5", tmp_path / name)
    assert not target.exists() and not list(tmp_path.glob(".part*"))


# --- damaged, and strangers' ---


def test_keras_own_layout_reads_no_other_file(tmp_path):
    file, numbers = tmp_path / "JND1Reconstruction.weights.h5", tmp_path / "numbers.bin"
    build_autoencoder(shape=(64, 64, 3)).save_weights(file)
    numbers.write_bytes(bytes(5 * 5 * 3 * 128 * 4))
    with h5py.File(file, "r+") as opened:
        names = []
        opened.visit(names.append)
        name = next(name for name in names if getattr(opened[name], "shape", None) == (5, 5, 3, 128))
        del opened[name]
        opened.create_dataset(name, (5, 5, 3, 128), "float32", external=[(str(numbers), 0, numbers.stat().st_size)])
    message = refused(convert, file, tmp_path / "new.h5", "--model", "JND1Reconstruction", "--input_size", 64, 64)
    assert message.startswith(f"{file}: /{name} lies in another file") and not (tmp_path / "new.h5").exists()


@pytest.fixture
def tensors(tmp_path):
    """A file of small.py's network, and what is in it."""
    file, model = tmp_path / "small.safetensors", small.build()
    about = {**ABOUT_SMALL, "sha256": digest(weights_of(model))}
    save(model, file, about=about)
    with safetensors.safe_open(file, "numpy") as opened:
        return file, safetensors.numpy.load_file(file), json.loads(opened.metadata()[ABOUT])


def write(file, arrays, about):
    file.write_bytes(safetensors.numpy.save(arrays, {ABOUT: json.dumps(about)}))


def test_a_safetensors_file_is_read_whole_or_not_at_all(tensors):
    file, arrays, about = tensors
    whole, model = file.read_bytes(), small.build(frozen_seed=2)
    before = model.get_weights()
    name = next(name for name in arrays if name.endswith("kernel"))
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    half = {**arrays, name: arrays[name].astype("float16")}
    turned = {**arrays, name: arrays[name].swapaxes(0, -1).copy()}
    for content, reason in (
        (whole[:-4], "damaged or cut off"),
        (whole[:40], "damaged or cut off"),
        (b"", "damaged or cut off"),
        (b"<html>Not found</html>", "damaged or cut off"),
        (bytes(flipped), "damaged: its numbers are not those of its SHA-256"),
        (({key: arrays[key] for key in arrays if key != name}, about), f"the tensor {name} is missing"),
        (({**arrays, "more/kernel": arrays[name]}, about), "the tensor more/kernel is one too many"),
        ((half, about), f"{name} holds F16, expected F32"),
        ((turned, about), "small expects"),
        ((arrays, {**about, "sha256": "0" * 64}), "damaged: its numbers"),
        ((arrays, {**about, "order": about["order"][:1] * 2}), "is missing"),
        ((arrays, {key: about[key] for key in about if key != "model"}), "does not say which model it is"),
        ((arrays, {**about, "input_size": [16]}), "does not say which model it is"),
        ((arrays, [1]), "does not say which model it is"),
    ):
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            write(file, *content)
        message = refused(load, model, file)
        assert message.startswith(f"{file}: ") and reason in message, message
    safetensors.numpy.save_file(arrays, file)
    assert "does not say which model it is" in refused(load, model, file)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    file.write_bytes(whole)
    load(model, file)
    assert digest(weights_of(model)) == about["sha256"]


def test_a_damaged_file_in_a_folder_is_named_where_nothing_else_is_there(tensors, tmp_path):
    file, _, _ = tensors
    file.write_bytes(file.read_bytes()[:-4])
    assert "damaged or cut off" in refused(find, tmp_path, ["Best.h5"], "small")
    save(small.build(), tmp_path / "Best.h5")
    assert find(tmp_path, ["Best.h5"], "small") == tmp_path / "Best.h5"
    shutil.copyfile(tmp_path / "Best.h5", file)  # HDF5, whatever its name
    assert find(tmp_path, ["Best.h5"], "small") == tmp_path / "Best.h5"


def test_a_training_starts_from_safetensors(tensors, rootdir, tmp_path):
    file, arrays, about = tensors
    small.train(rootdir, tmp_path / "new", epochs=1, learning_rate=1e-9, start_from=file)
    model = small.build()
    load(model, tmp_path / "new" / "Best.h5")
    for one, name in zip(weights_of(model), about["order"], strict=True):
        np.testing.assert_allclose(one, arrays[name], atol=1e-6)
    write(file, arrays, {**about, "model": "large", "file": "LARGE.h5"})
    message = refused(small.train, rootdir, tmp_path / "other", start_from=file)
    assert "holds large's weights, LARGE.h5; expected small's, Best.h5" in message


@pytest.mark.slow
@pytest.mark.parametrize("name", [*list_models(), *AUTOENCODERS])
def test_every_model_comes_back_as_it_was(name, tmp_path):
    spec = autoencoder_spec(AUTOENCODERS[name]) if name in AUTOENCODERS else get_model(name)
    level = "JND2" if spec.needs_level else None
    source = tmp_path / spec.released_name(level)
    save(build_network(spec), source)
    made = [tmp_path / "folder", tmp_path / "a.weights.h5", tmp_path / "b.h5"]
    for before, after in zip([source, *made], made):
        convert(before, after, *(["--model", name] if before == source else []))
    assert arrays_of(made[-1]) == arrays_of(source)
    if name not in AUTOENCODERS:
        image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), "uint8")
        assert load_model(made[0])(image).levels == load_model(name, level, weights=source)(image).levels
