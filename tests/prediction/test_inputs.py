"""What counts as an input of `predict`: files, folders, patterns and lists, and what is said of odd ones."""

import io
import os
import re
import shutil
from pathlib import Path

import pytest
import small
from moving import make_clip
from PIL import Image
from skimage import data

from common.core.errors import UserError
from common.media.images import write_png
from common.prediction import inputs, networks
from common.prediction.config import PredictionConfig
from common.prediction.resize_modes import prepare_image
from LAT import LAT


def test_a_clip_that_8_bits_cannot_show_has_a_warning(tmp_path):
    colours = "colorprim=bt2020:colormatrix=bt2020nc:transfer="
    for name, pixels, params, warning in (
        ("sdr.mp4", "yuv420p", "", ""),
        ("deep.mp4", "yuv420p10le", "", "10 bits a sample, seen in 8"),
        ("wide.mp4", "yuv420p", f"{colours}bt709", "BT.2020 colours, seen as if BT.709"),
        ("hlg.mkv", "yuv420p", f"{colours}arib-std-b67", "HDR (HLG), seen as if it were SDR"),
    ):
        options = {"vcodec": "libx265", "pix_fmt": pixels} | ({"x265-params": params} if params else {})
        make_clip(tmp_path / name, data.coffee()[None, :180, :320], **options)
        (_, image), _ = inputs.prepare_inputs([(0, tmp_path / name)], LAT.input, PredictionConfig(frames="first"))
        assert image.format_warning == warning


def test_an_animated_image_has_a_warning(tmp_path):
    frames = [Image.new("RGB", (32, 32), (40 * number, 0, 0)) for number in range(3)]
    for suffix in ("png", "webp", "gif"):
        frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=100)
        frames[0].save(tmp_path / f"still.{suffix}")
        warning = prepare_image(tmp_path / f"a.{suffix}", LAT.input).format_warning
        assert warning == "animated: only the first of its 3 frames is seen"
        assert prepare_image(tmp_path / f"still.{suffix}", LAT.input).format_warning == ""


def test_inputs_are_files_folders_patterns_and_lists(photographs, monkeypatch, capsys):
    monkeypatch.chdir(photographs)
    write_png(photographs / "coded" / "c.png", data.coffee())
    assert Path("coded/c.png") in inputs.find_places(["."])
    for folder in (".", "**/*.png"):  # --encode DIR is no input
        assert Path("coded/c.png") not in inputs.find_places([folder], exclude="coded")
    shutil.rmtree("coded")
    monkeypatch.setattr("sys.stdin", io.StringIO("deep\n\nno such.png\na9.png\n"))
    found = [*inputs.find_places(["a10.png", "-", "*.png", "[x"])]
    assert list(map(str, found)) == ["a10.png", "deep/b.png", "no such.png", "a9.png", "[x"]
    assert [*inputs.find_places(["."])] == [*inputs.find_places(["**/*.png"])]
    (photographs / "deep" / "loop").symlink_to(photographs)
    write_png(photographs / ".trash" / "gone.png", data.coffee())
    assert [*inputs.find_places(["**/*.png", "deep/../a9.png"])] == [*inputs.find_places(["."])]
    (photographs / "a[1].png").touch()  # a name that is also a pattern is the name
    assert list(map(str, inputs.find_places(["a[1].png"]))) == ["a[1].png"]
    assert not capsys.readouterr().err
    for name in ("notes.txt", "x.heic", "y.heic", "deep/README", "coded.avif"):
        (photographs / name).touch()
    (photographs / "gone.png").symlink_to("nowhere")
    assert Path("coded.avif") in inputs.find_places(["."])
    said = "left out: 5 of other kinds (.heic 2, .txt 1, no plain file 1, without suffix 1)\n"
    warning = capsys.readouterr().err
    assert warning.endswith("; save .heic as JPEG first\n")
    assert sorted(re.findall(r"[\w .]+ \d", warning)) == sorted(re.findall(r"[\w .]+ \d", said))
    with pytest.raises(UserError, match="^notes: no image and no clip here; expected images"):
        (photographs / "notes").mkdir()
        inputs.find_places(["notes"])


def test_folders_with_brackets_are_no_patterns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("set [2024]", ".set [2024]"):
        write_png(Path(folder, "a.png"), data.coffee())
        assert inputs.find_places([f"{folder}/*.png"]) == {Path(folder, "a.png"): Path("a.png")}


def test_what_is_no_file_is_called_what_it_is(tmp_path):
    for name in ("pipe.png", "pipe.mp4"):
        os.mkfifo(tmp_path / name)
    paths = [tmp_path / "pipe.png", tmp_path / "pipe.mp4", Path("/dev/null")]
    found = [str(wrong) for _, wrong in inputs.prepare_inputs(enumerate(paths), LAT.input, PredictionConfig())]
    kinds = [
        "a named pipe; expected a file, save the image as one",
        "a named pipe; expected a file, save the clip as one",
        "a device; expected a file, save the image as one",
    ]
    assert len(found) == 3 and all(f"{path}: {kind}" in said for path, kind, said in zip(paths, kinds, found))


def test_keras_does_not_start_where_no_file_can_be_read(small_weights, photographs, monkeypatch, capsys):
    monkeypatch.setattr(networks, "start_backend", lambda *_, **__: pytest.fail("Keras starts"))
    (photographs / "broken.jpg").write_text("no image")
    files = (photographs / "no such.png", photographs / "broken.jpg")
    code, printed = small.call("predict", *files, "--model_weights_path", small_weights), capsys.readouterr()
    assert code == 1 and "0 of 2 files" in printed.out
    assert re.findall("error: .*/(.*?): (.*?)[;,]", printed.err) == [
        ("no such.png", "no such file"),
        ("broken.jpg", "not an image"),
    ]
