"""`predict --format`: what it prints is run by the tools that it is for; QPs are read back from the bitstream."""

import io
import json
import math
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from h264_stream import frame_qps, hevc_frame_qps
from moving import CAT, LEVELS, SHOTS

from common.core.errors import UserError
from common.encoding import encode, plans, scenes
from common.encoding.codecs import ENCODERS, H264
from common.encoding.config import PlanConfig
from common.media.ffmpeg import decode_frames
from common.media.ffmpeg_process import find_ffmpeg
from common.media.formats import is_clip
from common.media.images import write_png
from common.media.metrics import luma, psnr

QPS = [23] * 12 + [32] * 12 + [37] * 12  # of LEVELS


def printed(format, *paths, codec="h264"):
    """What is printed of inputs whose levels are LEVELS, of an image 24.6."""
    out = io.StringIO()
    job = plans.PlanJob(PlanConfig(format, codec=codec), ["JND1"], {path: Path(path.name) for path in paths}, out)
    for path in paths:
        row = {"path": str(path), "tile": None, "width": 96, "height": 64, "warning": ""}
        job.add([row | {"frame": frame, "JND1": qp} for frame, qp in (LEVELS if is_clip(path) else {"": 24.6}).items()])
    assert job.run() == 0
    return out.getvalue()


def run_lines(lines, folder):
    """Run command lines in a folder, as a user pastes them into a shell."""
    (folder / "bin").mkdir()
    (folder / "bin" / "ffmpeg").symlink_to(find_ffmpeg())
    environment = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}
    subprocess.run(["sh", "-e"], input=lines, text=True, cwd=folder, env=environment, capture_output=True, check=True)
    return folder / "film.coded.mkv"


@pytest.mark.parametrize(("codec", "count"), [("h264", 4), ("hevc-qp", 1)])
def test_the_command_lines_give_each_frame_its_qp(tmp_path, clip, codec, count):
    lines = printed("ffmpeg", clip, codec=codec)
    assert lines.count("\n") == count
    file = run_lines(lines, tmp_path)
    assert (hevc_frame_qps(file) if codec == "hevc-qp" else [qp for _, qp in frame_qps(file)]) == QPS
    dbs = [psnr(luma(a), luma(b)) for a, b in zip(SHOTS, decode_frames(file), strict=True)]
    assert min(dbs) > 28  # each frame is the one that it should be
    copy = ["-v", "error", "-map", "0:a", "-c", "copy", "-f", "md5", "-"]
    sums = {subprocess.check_output([find_ffmpeg(), "-i", path, *copy]) for path in (clip, file)}
    assert len(sums) == 1


def test_zones_are_those_that_x265_takes(clip, capsys):
    zones = "0,12,q=23/13,24,q=32/25,36,q=37"
    assert printed("x265-zones", clip) == zones + "\n"
    assert json.loads(printed("json", clip))["inputs"][0]["x265-zones"] == zones
    assert "--qpfile FILE (its lines: 0 I -1, 12 I -1, 24 I -1)" in capsys.readouterr().err
    for codec in ("hevc-crf", "av1"):
        with pytest.raises(UserError, match="x265's zones take a QP only"):
            printed("x265-zones", clip, codec=codec)


def test_scenes_are_those_that_av1an_reads(clip):
    """Its structures are ScenesData, Scene and ZoneOptions in av1an-core/src/scenes; ends are not included."""
    document = json.loads(printed("av1an-scenes", clip))
    assert document.keys() == {"frames", "scenes", "split_scenes"} and document["frames"] == 36
    assert document["split_scenes"] == document["scenes"]  # which some versions take, without a copy of their own
    assert [(scene["start_frame"], scene["end_frame"]) for scene in document["scenes"]] == [(0, 12), (12, 24), (24, 36)]
    zone = document["scenes"][1]["zone_overrides"]
    kinds = {"encoder": str, "passes": int, "video_params": list, "chroma_noise": bool, "min_scene_len": int}
    optional = {"photon_noise", "photon_noise_height", "photon_noise_width", "extra_splits_len"}
    assert zone.keys() == kinds.keys() | optional and all(zone[name] is None for name in optional)
    assert all(type(zone[name]) is kind for name, kind in kinds.items()) and zone["encoder"] == "x264"
    params = " ".join(zone["video_params"])
    assert params.startswith("--qp 32 --ipratio 1.0 ") and "--no-psy --no-mbtree" in params
    zone = json.loads(printed("av1an-scenes", clip, codec="hevc-qp"))["scenes"][2]["zone_overrides"]
    params = "--tune psnr --preset medium --qp 37 --ipratio 1 --pbratio 1"
    assert (zone["encoder"], " ".join(zone["video_params"])) == ("x265", params)


def test_a_crf_is_the_one_that_encoding_the_scene_finds(tmp_path, clip, monkeypatch):
    document = json.loads(printed("json", clip, codec="h264-crf"))["inputs"][0]
    assert document["parameter"] == "crf" and "x265-zones" not in document  # which take no CRF
    found = [scene["value"] for scene in document["scenes"]]
    row = encode.encode_clip(scenes.analyse_clip(clip), [23, 32, 37], tmp_path / "film.mp4", "h264-crf")
    assert list(map(math.floor, found)) == [part["value"] for part in row["scenes"]]
    assert f"-crf {found[1]:g} " in document["ffmpeg"][1]
    assert [scene["margin"] for scene in document["scenes"]] == [0.1] * 3  # all of a scene was tried
    monkeypatch.setattr(plans, "SAMPLE", 6)
    lines = printed("text", clip, codec="h264-crf").splitlines()
    assert lines[0].startswith(f"{clip} frames 0 to 11: QP 23, crf ") and " ± " in lines[0]
    sampled = np.array([[float(word) for word in line.split(" crf ")[1].split(" ± ")] for line in lines])
    assert (sampled[:, 1] > 0.1).any() and (abs(sampled[:, 0] - found) < 4).all()


def test_the_command_lines_stop_where_one_fails(tmp_path, clip):
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\necho called >> log\nexit 3\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    lines = printed("ffmpeg", clip, codec="h264")
    done = subprocess.run(["sh"], input=lines, text=True, cwd=tmp_path, env={"PATH": f"{tmp_path}:{os.defpath}"})
    assert done.returncode == 3 and (tmp_path / "log").read_text() == "called\n"
    assert "scene-0.mp4 film.scene-1.mp4 film.scene-2.mp4 >" in lines  # and no other scenes that lie there
    assert lines.count(" -y film.scene-") == 3


def test_the_margin_of_samples_is_two_standard_errors_and_what_each_loses():
    class Sample:
        def match(self, encoder, qp):
            return 27, 40.3, 40.0

        def db(self, encoder, value):
            return {27: 40.3, 28: 39.7}[value]

        def dbs(self, encoder, value):
            return [40.0] * 3 if encoder is H264 else [40.1, 40.3, 40.5]  # 0.6 dB are one CRF

    assert plans._find_setting(Sample(), ENCODERS["hevc-crf"][1], 30) == (27.5, 0.9)  # 0.5 + 2 * 0.2 / 3 ** 0.5 / 0.6
    assert plans._find_setting(Sample(), ENCODERS["av1"][1], 30) == (27, 3)  # whole numbers: 2 + the same, rounded up


def test_images_have_a_qp_and_no_scenes(tmp_path, clip):
    write_png(tmp_path / "cat.png", CAT)
    document = json.loads(printed("json", clip, tmp_path / "cat.png"))["inputs"][1]
    assert document["scenes"] == [{"start": 0, "end": 0, "qp": 25, "value": 25, "margin": None}]
    for format, codec in (("ffmpeg", "h264"), ("json", "h264-crf")):
        with pytest.raises(UserError, match="cat.png: an image has no scenes; --encode codes it"):
            printed(format, tmp_path / "cat.png", codec=codec)
    with pytest.raises(UserError, match="these are 2 inputs; expected one clip"):
        printed("av1an-scenes", clip, clip.with_name("other.mp4"))
