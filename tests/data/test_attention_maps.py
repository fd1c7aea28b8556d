"""Attention maps as files: made, kept, read as distributions."""

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from skimage import data

from common.core.errors import UserError
from common.data import attention_maps, dataset
from common.data.saliency import saliency
from common.media.images import read_image, write_png


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two training images and a validation image, photographs, without labels."""
    root = tmp_path_factory.mktemp("root")
    (root / "train").mkdir()
    Image.fromarray(data.coffee()[:270, :480]).save(root / "train" / "img2.jpg", quality=95)
    write_png(root / "train" / "img10.png", data.astronaut()[:180, :320])
    write_png(root / "valid" / "img1.png", data.chelsea()[:180, :320])
    return root


def prepare(run, root, *arguments):
    return run("-m", "common.prepare", "attention", "--data_dir", root, *arguments)


def test_prepare(run, root):
    """Made, kept, made again where one is missing, one's own kept, a broken image named, all made anew."""
    result = prepare(run, root, "--jobs", 2)
    assert (result.returncode, result.stderr) == (0, "")
    assert "3 attention maps made, 0 were there" in result.stdout and "not measured gaze" in result.stdout
    maps = {path.relative_to(root).as_posix(): path for path in [*root.glob("vatrain/*"), *root.glob("vavalid/*")]}
    assert sorted(maps) == ["vatrain/img10.png", "vatrain/img2.png", "vavalid/img1.png"]
    for name, image in (("vatrain/img2.png", "train/img2.jpg"), ("vavalid/img1.png", "valid/img1.png")):
        with Image.open(maps[name]) as attention:
            assert attention.mode == "L" and "not measured gaze" in attention.text["Description"]
            expected = saliency(read_image(root / image))
            assert np.abs(np.asarray(attention) - 255 * expected).max() <= 0.5 + 1e-4

    made = {name: path.read_bytes() for name, path in maps.items()}
    maps["vatrain/img10.png"].unlink()
    (root / "vatrain" / ".part-1234.png").write_bytes(b"half")
    own = np.random.default_rng(0).integers(0, 256, (90, 160), np.uint8)
    maps["vatrain/img2.png"].unlink()
    Image.fromarray(own).save(root / "vatrain" / "img2.bmp")
    Image.fromarray(own).save(maps["vavalid/img1.png"])
    (root / "train" / "broken.png").write_bytes((root / "train" / "img10.png").read_bytes()[:3000])
    result = prepare(run, root)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "train/broken.png" in result.stderr and "left out" in result.stderr
    assert "1 attention maps made, 2 were there, 2 of them not made by this command" in result.stdout
    assert sorted(path.name for path in (root / "vatrain").iterdir()) == ["img10.png", "img2.bmp"]
    assert maps["vatrain/img10.png"].read_bytes() == made["vatrain/img10.png"]
    assert np.array_equal(np.asarray(Image.open(maps["vavalid/img1.png"])), own)

    (root / "train" / "broken.png").unlink()
    result = prepare(run, root, "--overwrite", "--splits", "valid")
    assert result.returncode == 0 and "1 attention maps made, 0 were there" in result.stdout
    assert maps["vavalid/img1.png"].read_bytes() == made["vavalid/img1.png"]
    result = prepare(run, root, "--overwrite")  # a second map of one image would belong to nobody
    assert result.returncode == 0 and "2 attention maps made, 1 were there, 1 of them not made" in result.stdout
    assert sorted(path.name for path in (root / "vatrain").iterdir()) == ["img10.png", "img2.bmp"]

    train = dataset.read_splits(root, ["train"], labels="optional")[0]["train"]
    distributions, computed = attention_maps.read_maps(train, root, (33, 60))
    assert distributions.shape == (2, 33, 60, 1) and distributions.dtype == np.float32 and computed == 1
    assert np.array_equal(distributions[0], attention_maps.load_map(root / "vatrain" / "img2.bmp", (33, 60)))


def test_prepare_says_what_is_wrong(run, tmp_path):
    result = prepare(run, tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: {tmp_path / 'train'}: no images; expected some, or other --splits\n"
    for name in ("train/a.png", "train/a.bmp"):
        (tmp_path / "train").mkdir(exist_ok=True)
        Image.fromarray(data.astronaut()[:8, :8]).save(tmp_path / name)
    result = prepare(run, tmp_path)
    assert result.returncode == 2 and "a.png: same name as a.bmp" in result.stderr and not list(tmp_path.glob("va*"))
    assert "not measured gaze" in " ".join(prepare(run, tmp_path, "--help").stdout.split())


def test_no_half_map(root, tmp_path, monkeypatch):
    def fail(image, path, **how):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space"):
        attention_maps.make_map(root / "valid" / "img1.png", tmp_path / "img1.png")
    assert not list(tmp_path.iterdir())


def test_a_map_is_loaded_as_a_distribution(tmp_path):
    gray = np.zeros((4, 6), np.uint8)
    gray[0] = (100, 200, 0, 0, 60, 0)
    gray[3, 5] = 40
    Image.fromarray(gray).save(tmp_path / "map.png")
    loaded = attention_maps.load_map(tmp_path / "map.png", (2, 3))
    assert loaded.shape == (2, 3, 1) and loaded.dtype == np.float32
    assert loaded[..., 0] == pytest.approx(np.array([[0.75, 0, 0.15], [0, 0, 0.1]]))
    Image.fromarray(np.repeat(gray[..., None], 3, axis=-1)).save(tmp_path / "rgb.bmp")  # gray, stored as colour
    assert np.array_equal(attention_maps.load_map(tmp_path / "rgb.bmp", (2, 3)), loaded)
    enlarged = attention_maps.load_map(tmp_path / "map.png", (8, 12))  # smaller than the network's
    assert enlarged.sum() == pytest.approx(1) and enlarged[:2, :2, 0] == pytest.approx(np.full((2, 2), 100 / 400 / 4))


def test_files_that_are_no_maps(tmp_path):
    Image.fromarray(np.zeros((9, 16), np.uint8)).save(tmp_path / "black.png")
    Image.fromarray(data.astronaut()).save(tmp_path / "colour.png")
    (tmp_path / "text.png").write_text("not an image")
    for name, problem in (
        ("black", "all black"),
        ("colour", "in colour"),
        ("text", "not an image"),
        ("gone", "no such file"),
    ):
        with pytest.raises(UserError, match=rf"{name}\.png: .*{problem}"):
            attention_maps.load_map(tmp_path / f"{name}.png", (33, 60))
        assert not attention_maps.is_computed(tmp_path / f"{name}.png")


def test_missing_maps_are_named(root, tmp_path):
    train = dataset.read_splits(root, ["train"], labels="optional")[0]["train"]
    with pytest.raises(UserError, match="vatrain: no such folder.*common.prepare attention --data_dir"):
        attention_maps.read_maps(train, tmp_path, (33, 60))
    (tmp_path / "vatrain").mkdir()
    Image.fromarray(np.full((9, 16), 7, np.uint8)).save(tmp_path / "vatrain" / "img2.png")
    with pytest.raises(UserError, match="img10.png"):
        attention_maps.read_maps(train, tmp_path, (33, 60))


def test_a_map_of_an_earlier_version_counts_as_computed(tmp_path):
    """Its text is that of commit 6b1d9f6, where the module had another name."""
    note = PngImagePlugin.PngInfo()
    note.add_text("Description", "computed saliency (common.saliency, Boolean Map Saliency), not measured gaze")
    Image.new("L", (8, 6), 9).save(tmp_path / "map.png", pnginfo=note)
    assert attention_maps.is_computed(tmp_path / "map.png")
