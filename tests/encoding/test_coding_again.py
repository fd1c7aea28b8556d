"""`predict --encode` after it has predicted: what it codes again, and what its report says."""

import os
from pathlib import Path

import ffmpeg as graphs
import pandas as pd
import pytest
from moving import CAT, LEVELS, SHOTS, film

from common.encoding import scenes
from common.encoding.config import EncodingConfig
from common.encoding.job import EncodingJob, scene_qps
from common.media.ffmpeg_process import find_ffmpeg
from common.media.formats import is_clip
from common.media.images import write_png


def coding(folder, *paths, **settings):
    """What `predict --encode` does after it has predicted LEVELS, 24.6 of an image: the report."""
    job = EncodingJob(
        EncodingConfig(folder, **{"baseline": 30, **settings}), ["JND1"], {path: Path(path.name) for path in paths}
    )
    for path in paths:
        row = {"path": str(path), "tile": None, "width": 96, "height": 64, "warning": "large"}
        qps = LEVELS if is_clip(path) else {"": 24.6}
        job.add([row | {"frame": frame, "JND1": qp} for frame, qp in qps.items()])
    assert job.run() == 0
    return pd.read_csv(folder / "report.csv", keep_default_na=False).set_index("path")


def test_resume_keeps_what_this_run_would_make(tmp_path, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_png(tmp_path / "a.png", CAT)
    paths, folder = (tmp_path / "a.png", clip), Path("out")

    def again(**options):
        before = {path: os.stat(path).st_mtime_ns for path in first["target"]}
        report = coding(folder, *paths, resume=True, **options)
        return report, [Path(path).name for path, when in before.items() if os.stat(path).st_mtime_ns != when]

    first = coding(folder, *paths)
    assert "0-11 QP 23; " in first["scenes"][str(clip)]
    report, made = again()
    assert made == [] and report.equals(first)
    report, made = again(scene="median")
    assert made == ["film.mp4"] and "0-11 QP 24; " in report["scenes"][str(clip)]
    assert again(scene="median")[1] == [] and again(baseline=31)[1] == ["a.mp4", "film.mp4"]


@pytest.mark.parametrize("column", ["bytes", "baseline bytes", "level", "qp"])
def test_resume_makes_again_what_a_damaged_row_describes(tmp_path, column, capsys):
    write_png(tmp_path / "a.png", CAT)
    first = coding(tmp_path / "out", tmp_path / "a.png")
    other = first.rename({str(tmp_path / "a.png"): "of another run"})
    pd.concat([first, other]).assign(**{column: "\x1b[31m"}).to_csv(tmp_path / "out" / "report.csv")
    assert coding(tmp_path / "out", tmp_path / "a.png", resume=True).equals(first)
    assert "report.csv: 2 of its rows are damaged and not kept" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scene", "levels", "qp"),
    [("median", (4.02, 3.90), 3), ("median", (3.1, 6.9), 5), ("lowest", (4.9, 5.1), 4), ("median", (4.0, 4.0), 4)],
)
def test_a_share_of_viewers_rounds_the_level_of_a_scene_down_once(scene, levels, qp):
    qps = dict(enumerate(levels))
    assert scene_qps([(0, 1)], qps, scene, down=True) == [qp]


def test_a_level_below_the_lowest_qp_is_said(tmp_path, capsys):
    path = tmp_path / "a.png"
    write_png(path, CAT)
    for level, said in ((0.4, True), (0.6, False)):
        config = EncodingConfig(tmp_path / str(level), baseline=30)
        job = EncodingJob(config, ["JND1"], {path: Path("a.png")})
        job.add([{"path": str(path), "tile": None, "width": 9, "height": 9, "warning": "", "frame": "", "JND1": level}])
        assert job.run() == 0
        row = pd.read_csv(config.folder / "report.csv", keep_default_na=False).iloc[0]
        line = "level 0.40: encoded at QP 1, above it, for none lower is encoded" if said else ""
        assert (row["qp"], row["level"], row["warning"]) == (1, level, line)
        assert (line in capsys.readouterr().err) == bool(line) or not line


def test_what_8_bits_cost_is_said(tmp_path, clip, capfd):
    deep = film(tmp_path / "deep.mkv", SHOTS[:3], sound=None, pix_fmt="yuv420p10le")
    tags = {"color_range": "tv", "color_primaries": "bt2020", "color_trc": "smpte2084", "colorspace": "bt2020nc"}
    tagged = "scale=out_color_matrix=bt2020,setparams=" + ":".join(
        f"{name.replace('color_range', 'range')}={value}" for name, value in tags.items()
    )
    hdr = film(tmp_path / "hdr.mkv", SHOTS[:3], sound=None, pix_fmt="yuv420p10le", vf=f"format=yuv420p10le,{tagged}")
    for kind, size in (("rgb48be", "wide"), ("gray16be", "gray"), ("rgb24", "plain")):
        graph = graphs.input("testsrc2=size=96x64:duration=1:rate=1", format="lavfi")
        graph.output(str(tmp_path / f"{size}.png"), pix_fmt=kind).run(cmd=find_ffmpeg(), quiet=True)
    images = [tmp_path / f"{name}.png" for name in ("wide", "gray", "plain")]
    report = coding(tmp_path / "out", clip, deep, hdr, *images)
    said = [
        "",
        "10 bits a sample, coded in 8",
        "10 bits a sample, coded in 8; HDR (PQ), coded as if it were SDR",
        "16 bits a sample, coded in 8",
        "16 bits a sample, coded in 8",
        "",
    ]
    assert report["warning"].tolist() == ["; ".join(filter(None, ("large", text))) for text in said]
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert lines == [f"warning: {path}: {text}" for path, text in zip(report.index, said) if text]
    after = scenes.analyse_clip(report["target"][str(hdr)]).format.tags
    assert after == tags  # or it would be shown in wrong colours
