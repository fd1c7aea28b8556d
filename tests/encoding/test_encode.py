"""Images and clips coded at predicted levels: what a player and a reader of the report rely on."""

import io
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import ffmpeg as graphs
import numpy as np
import pytest
from conftest import PROJECT
from h264_stream import encode_h264, frame_qps, hevc_frame_qps
from moving import CAT, LEVELS, SHOTS, film
from PIL import Image, ImageCms
from skimage import data

from common.core.errors import UserError
from common.encoding import codecs, encode, matching, scenes
from common.encoding.config import CODECS
from common.encoding.job import scene_qps
from common.encoding.targets import target_of, targets_of
from common.media import ffmpeg
from common.media.ffmpeg_process import find_ffmpeg
from common.media.formats import is_clip
from common.media.images import read_image, write_png
from common.media.metrics import luma, psnr
from common.prediction.inputs import find_places

HERE = PROJECT


def coded(path, qp, codec, folder, baseline=None):
    """Code an image at a QP, or a clip at {frame: QP}, into `folder`: the row of the report."""
    target = target_of(path, codec, folder)
    if is_clip(path):
        return code_clip(path, qp, target, codec, baseline)
    return encode.encode_image(path, qp, target, codec, baseline)


def code_clip(path, qps, target, codec="h264", baseline=None, **settings):
    """Code a clip at {frame: QP}: the row of the report."""
    clip = scenes.analyse_clip(path)
    return encode.encode_clip(clip, scene_qps(clip.scenes, qps), target, codec, baseline, **settings)


def packets(path, kind):
    """[(time, duration, digest), ...] of the coded packets of a kind, in the unit of the file."""
    graph = graphs.input(str(path))[kind].output("pipe:", format="framemd5", c="copy")
    out = graph.run(cmd=find_ffmpeg(), quiet=True)[0].decode()
    rows = [line.split(",") for line in out.splitlines() if not line.startswith("#")]
    return [(int(row[2]), int(row[3]), row[5]) for row in rows]


def audio_before_video(path):
    """Seconds."""
    source = graphs.input(str(path))
    graph = graphs.output(source["v"], source["a"], "pipe:", format="framecrc", c="copy")
    out = graph.run(cmd=find_ffmpeg(), quiet=True)[0].decode()
    units = [Fraction(unit) for unit in re.findall(r"#tb \d: (\S+)", out)]
    rows = re.findall(r"^(\d),\s*\S+,\s*(-?\d+),", out, re.MULTILINE)
    video, audio = (min(int(pts) * units[kind] for of, pts in rows if int(of) == kind) for kind in (0, 1))
    return float(video - audio)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_a_clip_scene_by_scene(tmp_path, clip, codec):
    baseline = 20 if codec == "h264" else None
    row = coded(clip, LEVELS, codec, tmp_path, baseline)
    parts = [(part["start"], part["end"], part["qp"]) for part in row["scenes"]]
    assert parts == [(0, 11, 23), (12, 23, 32), (24, 35, 37)]
    target = tmp_path / "film.mp4"
    assert row["target"] == str(target) and os.listdir(tmp_path) == ["film.mp4"]
    before, after = scenes.analyse_clip(clip), scenes.analyse_clip(target)
    assert [time * after.tick for time in after.times] == [time * before.tick for time in before.times]
    assert (
        after.format.size == before.format.size
        and after.format.tags == before.format.tags
        and after.rate == before.rate == 10
    )
    assert packets(target, "a") == packets(clip, "a")
    assert row["frames"] == 36 and row["seconds"] == pytest.approx(3.6)
    assert row["bytes"] < target.stat().st_size and row["lowest psnr luma"] < row["psnr luma"]
    decoded = list(ffmpeg.decode_frames(target))
    dbs = [psnr(luma(a), luma(b)) for a, b in zip(SHOTS, decoded, strict=True)]
    assert np.mean(dbs) == pytest.approx(row["psnr luma"], abs=1)
    if codec == "h264":
        assert [qp for _, qp in frame_qps(target)] == [23] * 12 + [32] * 12 + [37] * 12
        annex_b = (
            graphs.input(str(target)).output("pipe:", format="h264", c="copy").run(cmd=find_ffmpeg(), quiet=True)[0]
        )
        parameters = re.findall(rb"\x00\x00\x01\x68(.*?)\x00\x00", annex_b, re.DOTALL)
        assert len(parameters) >= 3 and len(set(parameters)) == 1  # an .mp4 says them once for all
        constant = coded(clip, {0: 20.0}, codec, tmp_path / "constant")
        assert row["baseline bytes"] == constant["bytes"] > row["bytes"]
        assert row["saving %"] == pytest.approx(100 - 100 * row["bytes"] / constant["bytes"])
    else:  # as good as that H.264, and a coarser setting would not be
        wanted = np.mean([psnr(luma(a), luma(b)) for a, b in zip(SHOTS, at_qps(clip, tmp_path), strict=True)])
        assert np.mean(dbs) >= wanted - 0.1 and np.mean(dbs) < wanted + 2
        mapped = [float(re.search(r"\(([\d.]+) dB", part["mapping"])[1]) for part in row["scenes"]]
        assert np.mean(mapped) == pytest.approx(row["psnr luma"], abs=0.01)  # scenes of one length


def test_a_clip_that_was_coded_like_that_before(tmp_path):
    """H.264 at the QP would hardly change it, so that a codec that is as good must not either."""
    moving = np.stack([data.coffee()[i : i + 64, 2 * i : 2 * i + 96] for i in range(130)])
    encode_h264(moving, tmp_path / "coded.mp4", 32)
    rows = {codec: coded(tmp_path / "coded.mp4", {0: 32.0}, codec, tmp_path / codec) for codec in ("h264", "hevc")}
    assert rows["hevc"]["psnr luma"] > rows["h264"]["psnr luma"] - 0.25
    assert "on frames 0 to 119 (" in rows["hevc"]["mapping"]


def at_qps(clip, folder):
    return ffmpeg.decode_frames(coded(clip, LEVELS, "h264", folder / "h264")["target"])


def test_the_encoder_of_clips_gives_the_bytes_of_ffmpeg(tmp_path):
    """A clip of one scene, so that headers and all frames are those that VideoSet's settings give."""
    source = film(tmp_path / "one.mp4", SHOTS[:12], sound=None)
    coded(source, {0: 27.0}, "h264", tmp_path / "out")
    clip = scenes.analyse_clip(source)
    options = ffmpeg.x264_options(27, ffmpeg.CLIP_THREADS, {"stitchable": 1, "fps": "10/1"})
    graph = clip.frames().output(str(tmp_path / "program.mp4"), vcodec="libx264", **options)
    graph.run(cmd=find_ffmpeg(), quiet=True)
    files = (tmp_path / "out/one.mp4", tmp_path / "program.mp4")
    by_pyav, by_program = ([packet[2] for packet in packets(file, "v")] for file in files)
    assert by_pyav == by_program and len(by_pyav) == 12


def test_quality_that_its_qp_cannot_give(tmp_path, clip, monkeypatch):
    """Such as that of another clip's frames."""
    assert [round(encode.lowest_db(qp), 1) for qp in (1, 20, 37, 51)] == [46.4, 32.0, 15.0, 1.0]
    rows = [coded(clip, {0: float(qp)}, "h264", tmp_path / str(qp)) for qp in (1, 26, 51)]
    assert all(row["lowest psnr luma"] > encode.lowest_db(row["qp"]) + 6 for row in rows)
    other = film(tmp_path / "other.mp4", SHOTS[::-1])
    monkeypatch.setattr(scenes, "read_frames", lambda clip, *a: READ_FRAMES(clip._replace(path=str(other)), *a))
    with pytest.raises(UserError, match=r"frame 0 has a PSNR of .* dB, but QP 20 gives 32.0 dB or more"):
        coded(clip, {0: 20.0}, "h264", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


READ_FRAMES = scenes.read_frames


def test_what_a_scene_is_coded_at():
    parts = [(0, 9), (10, 19), (20, 29), (30, 39)]
    qps = {31: 40.4, 12: 30, 15: 27.5, 19: 29}
    assert scene_qps(parts, qps) == [30, 28, 29, 40]  # before all: the first; without any: the one before
    assert scene_qps(parts, qps, "median") == [30, 29, 29, 40]
    assert scene_qps(parts, {0: 312.0}) == [51] * 4 and scene_qps(parts, {0: -3.0}) == [1] * 4
    with pytest.raises(UserError, match="level nan"):
        scene_qps(parts, {0: float("nan")})


@pytest.mark.parametrize(
    "name, options, suffix",
    [
        (
            "odd varying.mkv",
            {"vf": "crop=95:63:exact=1,select=not(between(n\\,3\\,7))", "fps_mode": "vfr", "pix_fmt": "yuv444p"},
            ".mkv",
        ),
        ("raw sound.mkv", {"sound": "pcm_s16le", "pix_fmt": "yuv420p10le"}, ".mkv"),
        ("one frame.mp4", {"pixels": SHOTS[:1], "sound": None}, ".mp4"),
        ("turned.mp4", {"sound": None}, ".mp4"),
        ("late.mp4", {"sound": None}, ".mp4"),
        ("late.ts", {"sound": None}, ".ts"),
    ],
)
def test_clips_of_every_kind(tmp_path, name, options, suffix):
    source = film(tmp_path / name, **options)
    late = source.stem == "late"
    if late or name == "turned.mp4":
        plain = str(source.rename(tmp_path / f"plain{source.suffix}"))
        if late:  # the audio begins half a second before the video
            sound = graphs.input(str(film(tmp_path / "sound.mp4")))["a"]
            other = graphs.output(graphs.input(plain, itsoffset=0.5)["v"], sound, str(source), c="copy")
        else:
            other = graphs.input(plain, display_rotation=90).output(str(source), c="copy")
        other.run(cmd=find_ffmpeg(), quiet=True)
    row = coded(source, {0: 12.0}, "h264", tmp_path / "out")
    target = tmp_path / "out" / f"{source.stem}{suffix}"
    assert Path(row["target"]) == target and row["psnr luma"] > 38 and row["saving %"] is None
    before, after = scenes.analyse_clip(source), scenes.analyse_clip(target)
    assert len(after.times) == len(before.times) and after.encoded_size == after.format.size == before.encoded_size
    for a, b in zip(before.times, after.times):
        assert float(a * before.tick) == pytest.approx(float(b * after.tick), abs=0.0011)  # Matroska's unit is 1 ms
    if options.get("sound", "aac") or late:
        assert audio_before_video(target) == pytest.approx(audio_before_video(source), abs=0.0011)
        sounds = [packets(file, "a") for file in (source, target)]
        assert [len(sound) for sound in sounds] == [len(sounds[0])] * 2 and sounds[0]
        if name != "late.ts":  # whose packets of sound have headers that MP4 does not take
            assert [packet[2] for packet in sounds[0]] == [packet[2] for packet in sounds[1]]
    assert {qp for _, qp in frame_qps(target)} == {12}
    if name == "one frame.mp4":
        assert [packet[1] * after.tick for packet in packets(target, "v")] == [Fraction(1, 10)]
    start = before.times[0] * before.tick
    assert (
        start == (Fraction(1, 2) if late else 0) or name == "late.ts" and float(start) == pytest.approx(0.5, abs=0.03)
    )


@pytest.mark.parametrize("size, measured", [("2:2", []), ("80:6", []), ("80:16", ["ssim luma"])])
def test_a_clip_too_small_for_a_measure(tmp_path, size, measured):
    source = film(tmp_path / "strip.mkv", vf=f"crop={size}", sound=None)
    row = coded(source, {0: 12.0}, "h264", tmp_path / "out")
    assert [name for name in ("ssim luma", "vmaf") if row[name] is not None] == measured and row["psnr luma"] > 38


def test_an_image_in_every_codec(tmp_path):
    """Each is as good as H.264 at the QP, and the next coarser setting would not be."""
    write_png(tmp_path / "cat.png", CAT)
    rows = {codec: coded(tmp_path / "cat.png", 27.5, codec, tmp_path / codec, 20) for codec in CODECS}
    assert tuple(codecs.ENCODERS) == CODECS
    wanted = psnr(luma(CAT), luma(ffmpeg.encode_intra(CAT, 28).pixels))
    for codec, row in rows.items():
        using, target = codecs.find_encoder(codec, clip=False), Path(row["target"])
        assert target == target_of(tmp_path / "cat.png", codec, tmp_path / codec) and row["qp"] == 28
        assert row["bytes"] == target.stat().st_size < row["baseline bytes"] and 0 < row["saving %"] < 100
        assert 50 < row["vmaf"] < 100 and 0.5 < row["ssim rgb"] < 1 and row["parameter"] == using.parameter
        if codec == "hevc-qp":
            assert hevc_frame_qps(target) == [28] and row["mapping"] == ""
            continue
        assert row["psnr luma"] >= wanted - 1e-6
        if codec == "h264":
            assert frame_qps(target) == [("I", 28)] and row["mapping"] == ""
        elif using.save:
            coarser = io.BytesIO()
            using.save(CAT, coarser, row["value"] - 1, None)
            assert psnr(luma(CAT), luma(np.asarray(Image.open(coarser).convert("RGB")))) < wanted
        if codec != "h264":
            assert f"{row['psnr luma']:.2f} dB against {wanted:.2f} dB of H.264 at QP 28" in row["mapping"]


def test_an_upright_image_keeps_its_colours(tmp_path):
    """A turned photograph with a profile, and one of odd size with transparency."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CAT).save(tmp_path / "turned.jpg", exif=exif, icc_profile=profile, quality=98)
    row = coded(tmp_path / "turned.jpg", 20, "jpeg", tmp_path / "out")
    with Image.open(row["target"]) as upright:
        assert upright.size == CAT.shape[:2] and upright.info["icc_profile"] == profile and not upright.getexif()
    Image.fromarray(np.dstack([CAT, CAT[..., 0]])[:99, :63]).save(tmp_path / "odd.png")
    row = coded(tmp_path / "odd.png", 20, "h264", tmp_path / "out")
    assert next(ffmpeg.decode_frames(row["target"])).shape == (100, 64, 3) and row["psnr luma"] > 38
    row = coded(tmp_path / "odd.png", 20, "av1", tmp_path / "out")
    assert read_image(row["target"]).shape == (99, 63, 3)


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


def test_an_encoder_that_is_not_there(tmp_path, monkeypatch):
    fake = tmp_path / "fake-ffmpeg"
    fake.write_text("#!/bin/sh\necho \"[error] Unknown encoder 'libx265'\" >&2; exit 8\n")
    fake.chmod(0o755)
    codecs.find_encoder("hevc", clip=False).check(clip=False)
    monkeypatch.setenv("FFMPEG", str(fake))
    with pytest.raises(UserError, match="built without libx265, imageio-ffmpeg's has it") as error:
        codecs.find_encoder("hevc", clip=False).check(clip=False)
    assert "\n" not in str(error.value)


def test_the_coarsest_setting_that_is_good_enough():
    for wanted in (20.0, 33.3, 41.0, 44.9, 60.0):
        asked = []

        def quality(setting, asked=asked):
            asked.append(setting)
            return 20 + 25 * (1 - setting / 51) ** 0.7  # dB of a CRF

        setting, db = matching.match_quality(range(51, -1, -1), quality, wanted)
        due = [crf for crf in range(51, -1, -1) if 20 + 25 * (1 - crf / 51) ** 0.7 >= wanted][:1] or [0]
        assert [setting] == due and db == quality(setting) and len(asked) <= 9


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
    done = subprocess.run(command, cwd=HERE, stderr=subprocess.PIPE, text=True, timeout=120)
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
