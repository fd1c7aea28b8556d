"""Images and clips coded at predicted levels: what a player and a reader of the report rely on."""

import io
import os
import re
from fractions import Fraction
from pathlib import Path

import ffmpeg as graphs
import numpy as np
import pytest
from coding import READ_FRAMES, coded
from h264_stream import encode_h264, frame_qps, hevc_frame_qps
from moving import CAT, LEVELS, SHOTS, film
from PIL import Image, ImageCms
from skimage import data

from common.core.errors import UserError
from common.encoding import codecs, encode, matching, scenes
from common.encoding.config import CODECS
from common.encoding.job import scene_qps
from common.encoding.targets import target_of
from common.media import ffmpeg
from common.media.ffmpeg_process import find_ffmpeg
from common.media.images import read_image, write_png
from common.media.metrics import luma, psnr


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
