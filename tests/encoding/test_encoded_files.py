"""Files of coded images and clips: where they go, what a stop leaves, and that a second run gives the same bytes."""

import subprocess
import sys
from pathlib import Path

import pytest
from coding import READ_FRAMES, code_clip, coded
from conftest import PROJECT
from moving import CAT, LEVELS, SHOTS, film
from PIL import Image

from common.core.errors import UserError
from common.encoding import scenes
from common.encoding.targets import target_of, targets_of
from common.media.images import write_png
from common.prediction.inputs import find_places


def test_what_is_refused(tmp_path, clip):
    for name in ("a.png", "sub/a.png"):
        write_png(tmp_path / name, CAT)
    Image.fromarray(CAT).save(tmp_path / "a.jpg")
    before = (tmp_path / "a.jpg").read_bytes()
    with pytest.raises(UserError, match="a.jpg: this is an input"):
        coded(tmp_path / "a.jpg", 20, "jpeg", tmp_path)
    with pytest.raises(UserError, match="film.mp4: this is an input"):
        coded(clip, LEVELS, "h264", clip.parent)
    with pytest.raises(UserError, match="a.jpg: this is an input"):
        targets_of({tmp_path / "a.jpg": Path("a.jpg")}, "jpeg", tmp_path)
    with pytest.raises(UserError, match="jpeg is for images; expected one of h264, hevc, av1"):
        target_of(clip, "jpeg", tmp_path)
    with pytest.raises(UserError, match=r"a.png.png: would be encoded as .*a.png.mp4, as .*a.png is"):
        targets_of({tmp_path / name: Path(name) for name in ("a.png", "a.jpg", "a.png.png")}, "h264", tmp_path / "out")
    assert (tmp_path / "a.jpg").read_bytes() == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "targets"),
    [
        (["{}/a/x.png"], "x"),  # a file: its name, wherever it lies
        (["{}/a/x.png", "b/y.png"], "x y"),
        (["{}/a"], "x deep/x deep/y"),  # a folder: the tree below it
        (["."], "a/x a/deep/x a/deep/y b/x.jpg b/x.png b/y"),
        (["a", "b/y.png"], "x deep/x deep/y y"),
        (["a/**/*.png"], "x deep/x deep/y"),  # a pattern: as its first folder
        (["*/x.png"], "a/x b/x"),
        (["a/x.png", "b/x.png"], "a/x b/x"),  # one name: folders of their own
        (["a/x.png", "a/deep/x.png"], "a/x deep/x"),
        (["a/x.png", "c/a/x.png"], "root/a/x c/a/x"),
        (["b/x.png", "b/x.jpg"], "x.png x.jpg"),  # but for the suffix: it stays
        (["a/x.png", "b/x.png", "b/x.jpg"], "a/x.png b/x.png x.jpg"),
        (["a/deep", "c/a/deep"], "root/a/deep/x y c/a/deep/x"),
    ],
)
def test_where_encoded_files_go(names, targets, tmp_path, monkeypatch):
    root, files = tmp_path / "root", ["a/x.png", "a/deep/x.png", "a/deep/y.png", "b/x.png", "b/x.jpg", "b/y.png"]
    if any(name.startswith("c/") for name in names):
        files += ["c/a/x.png", "c/a/deep/x.png"]
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    monkeypatch.chdir(root)
    found = targets_of(find_places([name.format(root) for name in names]), "h264", Path("out"))
    assert sorted(map(str, found.values())) == sorted(f"out/{name}.mp4" for name in targets.split())


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    pixels = SHOTS.repeat(30, axis=0).repeat(4, axis=1).repeat(4, axis=2)
    return film(tmp_path_factory.mktemp("long") / "long.mp4", pixels, preset="ultrafast")


INTERRUPT = """
import os, signal, sys, time
from pathlib import Path
from common.cli import program
from common.encoding import encode, parts, scenes

def encode_until(frames, encoders, row, file):
    encode_scene(frames if row["start"] != start else stopped(frames), encoders, row, file)

def stopped(frames):
    for number, frame in enumerate(frames):
        if number == 100:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        yield frame

def main():
    encode.encode_clip(scenes.analyse_clip(clip), [20] * 3, Path(folder) / "long.mp4", "h264", jobs=1)

(clip, folder), start = sys.argv[1:3], int(sys.argv[3])
encode_scene, parts._encode = parts._encode, encode_until
program.run(main)
"""


def interrupt(long, folder, start):
    """Encode a clip, with Ctrl-C in the middle of the scene that starts at this frame; returns what was said."""
    command = [sys.executable, "-c", INTERRUPT, str(long), str(folder), str(start)]
    done = subprocess.run(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True, timeout=120)
    assert "interrupted" in done.stderr and done.returncode == 130, done.stderr
    return done.stderr


def test_ctrl_c_leaves_nothing(tmp_path, long):
    assert "--resume" not in interrupt(long, tmp_path / "out", 0)
    assert not list((tmp_path / "out").iterdir())


def test_a_stopped_clip_goes_on_with_its_complete_scenes(tmp_path, long, monkeypatch):
    out, starts = tmp_path / "out", []
    said, folder = interrupt(long, out, 360), out / ".part-long.mp4.scenes"
    assert f"the complete scenes in {folder}, --resume goes on with them" in said
    assert sorted(out.rglob("*")) == [folder, *folder.glob("0-359 *")]
    monkeypatch.setattr(scenes, "read_frames", lambda *a: starts.append(a[1]) or READ_FRAMES(*a))
    again = code_clip(long, {0: 20}, out / "long.mp4", jobs=1, resume=True)
    undisturbed = code_clip(long, {0: 20}, tmp_path / "three/long.mp4", jobs=3)
    assert starts[0] == 360 and sorted(starts[1:]) == [0, 360, 720]
    assert Path(again.pop("target")).read_bytes() == Path(undisturbed.pop("target")).read_bytes()
    assert again == undisturbed
    assert [file.name for file in out.iterdir()] == ["long.mp4"]


def test_matroska_has_the_same_bytes_again(tmp_path):
    source = film(tmp_path / "short.mkv", SHOTS[::6])
    rows = [code_clip(source, {0: 30}, tmp_path / str(n) / "short.mkv", jobs=n) for n in (1, 2)]
    one, two = (Path(row["target"]).read_bytes() for row in rows)
    assert one == two and len(rows[0]["scenes"]) > 1
