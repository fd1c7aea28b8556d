"""predict, as a user runs it and as a library: any images and clips, from one to an archive."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small
from h264_stream import frame_qps
from moving import make_clip
from skimage import data

import common.cli.predict
import MTJND
from common import load
from common.cli import script
from common.core.errors import UserError
from common.media.clips import extract_frames
from common.media.images import write_png
from common.prediction.config import PredictionConfig
from LAT import LAT


@pytest.fixture
def predict(weight_files, capsys):
    """Call LAT's predict in this process: the exit code and what it printed."""

    def call(*arguments, weights=weight_files):
        code = script.run_script(
            "", LAT, arguments=["predict", *map(str, arguments), "--model_weights_path", str(weights)]
        )
        return code, capsys.readouterr()

    return call


@pytest.fixture
def predict_small(small_weights, capsys):
    """The same of small.py's network, where it does not matter what a network predicts."""

    def call(*arguments, weights=small_weights):
        code = small.call("predict", *arguments, "--model_weights_path", weights)
        return code, capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def predictor(weight_files):
    return load("LAT", 1, weight_files)


def test_levels_of_images_are_the_released_programs(run, golden, weight_files, tmp_path):
    images = golden.write_images(tmp_path / "images")
    write_png(images / "gradient2.png", data.coffee())
    with open(images / "gradient2.png", "rb+") as file:
        file.truncate(2000)
    (images / "notes.txt").write_text("no image")
    arguments = ("LAT.py", "predict", images, "--model_weights_path", weight_files)
    done = run(*arguments, "--output", tmp_path / "levels.csv")
    assert done.returncode == 1  # one file was bad: it is named, the others are there
    wrong = r"left out: 1 of other kinds \(.txt 1\)\nerror: \S*gradient2.png: cannot be decoded .*\n"
    assert re.fullmatch(wrong, done.stderr)
    table = pd.read_csv(tmp_path / "levels.csv")
    assert [os.path.basename(path) for path in table["path"]] == ["gradient.png", "pattern.png"]
    np.testing.assert_allclose(table[["JND1"]], golden.predictions["LAT"]["outputs"][0]["values"], rtol=1e-4)
    for path, level in zip(table["path"], table["JND1"]):
        assert re.search(rf"^{re.escape(path)} +{level:.2f}  640x352 to 640x352$", done.stdout, re.M)
    assert "2 of 3 files" in done.stdout


def test_the_other_input_size_too(golden, tmp_path, capsys):
    weights = golden.write_weights("MT_1LJND_VA", tmp_path / "MT_JND1_VA.h5")
    write_png(tmp_path / "a.png", data.coffee())
    arguments = ["predict", str(tmp_path / "a.png"), "--head", "MT_1LJND_VA", "--model_weights_path", str(weights)]
    assert script.run_script("", MTJND.MT_3LJND, MTJND.MT_1LJND_VA, arguments=arguments) == 0
    level = load("MT_1LJND_VA", 1, weights)(data.coffee()).levels["JND1"]
    assert f"{level:.2f}  600x400 to 480x270" in capsys.readouterr().out


def test_every_level_that_has_weights_is_predicted(predict, weight_files, photographs, tmp_path, golden):
    folder = tmp_path / "both"
    folder.mkdir()
    shutil.copy(weight_files / "LATJND1.h5", folder)
    shutil.copy(weight_files / "LATJND1.h5", folder / "BestModelJND3.h5")
    predict(photographs / "a9.png", "--output", tmp_path / "levels.csv", weights=folder)
    table = pd.read_csv(tmp_path / "levels.csv")
    assert "JND2" not in table and table["JND1"][0] == table["JND3"][0] > 0
    shutil.copy(weight_files / "LATJND1.h5", folder / "mine.h5")
    with pytest.raises(UserError, match="does not tell the level; add --jnd_value"):
        predict(photographs / "a9.png", weights=folder / "mine.h5")


def test_json_lines_hold_the_same_as_csv(predict_small, photographs, tmp_path):
    for name in ("levels.csv", "levels.jsonl"):
        assert predict_small(photographs, "--output", tmp_path / name)[0] == 0
    table = pd.read_csv(tmp_path / "levels.csv")
    lines = [json.loads(line) for line in (tmp_path / "levels.jsonl").read_text().splitlines()]
    assert lines[0]["frame"] is None and lines[0]["width"] == 600 and list(lines[0]) == list(table)
    assert [line["path"] for line in lines] == list(table["path"])
    assert [line["JND1"] for line in lines] == pytest.approx(list(table["JND1"]))
    assert [path.removeprefix(f"{photographs}/") for path in table["path"]] == ["a9.png", "a10.png", "deep/b.png"]


def test_json_lines_on_standard_output_are_alone_there(predict_small, photographs, tmp_path):
    (photographs / "bad.png").write_text("no image")
    predict_small(photographs, "--output", tmp_path / "levels.jsonl")
    for flags in ([], ["--quiet"]):
        encode = "--encode", tmp_path / "".join(["coded", *flags])
        code, said = predict_small(photographs, "--output", "-", *encode, *flags)
        assert code == 1 and said.out == (tmp_path / "levels.jsonl").read_text()
        assert re.search("^error: .*bad.png: not an image", said.err, re.M)
        assert ("3 of 4 files" in said.err) == ("try --fit crop" in said.err) == (not flags)
        assert "3 files encoded" in said.err
    with pytest.raises(UserError, match="--resume: there is nothing to go on with"):
        predict_small(photographs, "--output", "-", "--resume")
    code, said = predict_small(photographs, "--quiet")
    assert "a9.png" in said.out and "of 4 files" not in said.out and said.err.count("\n") == 1


def test_a_format_for_other_tools_has_standard_output_to_itself(predict_small, photographs):
    code, printed = predict_small(photographs / "a9.png", "--format", "json")
    (document,) = json.loads(printed.out)["inputs"]
    assert code == 0 and document["path"].endswith("a9.png") and document["codec"] == "h264"
    assert "a9.png" in printed.err and "1 of 1 files" in printed.err
    code, quiet = predict_small(photographs / "a9.png", "--format", "json", "--quiet")
    assert (code, quiet.out, quiet.err) == (0, printed.out, "")


def test_what_an_image_looks_like_to_the_network_is_said(predict, predictor, photographs, tmp_path):
    printed = predict(photographs)[1].out
    assert "400x600 to 640x352; unlike the training images: stretched 2.67 times in width\n" in printed
    assert "with a warning: check their levels; for images of another shape, 4:3 or 3:2, try --fit crop\n" in printed
    printed = predict(photographs / "deep", "--fit", "crop")[1].out
    assert "middle 400x225 to 640x352; unlike the training images: enlarged 1.6 times" in printed
    assert "1 with a warning: check their levels\n" in printed
    halves = data.coffee()[:360, :600], data.astronaut()[100:460, np.r_[:512, :88]]
    big = np.concatenate(halves, axis=1).repeat(2, axis=0)  # 720 x 1200
    write_png(tmp_path / "big.png", big)
    predict(tmp_path / "big.png", "--fit", "tiles", "--output", tmp_path / "tiles.csv")
    whole, *tiles = pd.read_csv(tmp_path / "tiles.csv").itertuples()
    assert [tile.tile for tile in tiles] == ["640x360+0+0", "640x360+560+0", "640x360+0+360", "640x360+560+360"]
    assert [tile.JND1 == whole.JND1 for tile in tiles] == [False, False, True, False]
    assert whole.JND1 == min(tile.JND1 for tile in tiles)
    for tile in tiles:
        x, y = map(int, tile.tile.split("+")[1:])
        assert predictor(big[y : y + 360, x : x + 640]).levels["JND1"] == pytest.approx(tile.JND1, rel=1e-5)


def test_frames_of_clips_are_predicted_with_their_times(predict, predictor, tmp_path):
    clip = tmp_path / "clip.mp4"
    make_clip(clip, np.concatenate([[data.coffee()[:180, :320]] * 12, [data.rocket()[:180, :320]] * 13]), rate=10)
    (tmp_path / "damaged.mp4").write_bytes(clip.read_bytes()[:3000])
    write_png(tmp_path / "z.png", data.coffee())
    files = (tmp_path / "damaged.mp4", clip, tmp_path / "z.png")
    code, printed = predict(*files, "--output", tmp_path / "levels.csv")
    table = pd.read_csv(tmp_path / "levels.csv")
    assert code == 1 and "damaged.mp4" in printed.err and str(tmp_path / "damaged.mp4") not in set(table["path"])
    assert list(table["frame"])[:-1] == [0, 10, 12, 20] and list(table["seconds"])[:-1] == [0, 1, 1.2, 2]
    expected = [predictor(pixels).levels["JND1"] for _, _, pixels in extract_frames(clip, [0, 10, 12, 20])]
    np.testing.assert_allclose(table["JND1"][:-1], expected, rtol=1e-5)
    assert table["JND1"].round(2).nunique() == 3 and table["path"][4] == str(tmp_path / "z.png")
    with pytest.raises(UserError, match=r"clip.mp4 is by LAT .* scenes\+1s, this run's would be by LAT .* first;"):
        predict(*files, "--output", tmp_path / "levels.csv", "--resume", "--frames", "first")


def test_inputs_are_encoded_at_their_levels(predict, weight_files, photographs, tmp_path):
    make_clip(photographs / "clip.mp4", np.stack([data.coffee()[:180, :320]] * 5))
    write_png(photographs / "deep" / "a9.png", data.coffee()[:9, :50])  # the same name; too small for SSIM and VMAF
    output, folder = tmp_path / "levels.csv", tmp_path / "coded"
    for wrong, message in (
        (["--level", "JND2"], "--level JND2: the model with these weights gives JND1"),
        (["--codec", "jpeg"], "codec jpeg is for images"),
        (["--encode", photographs], "holds files already; --resume encodes what is missing"),
        (["--sur", "0.99"], "ratio 0.99: expected a share from 0.05 to 0.95"),
    ):
        with pytest.raises(UserError, match=message):
            predict(photographs, "--encode", folder, *wrong)
    # The golden weights' levels are 2 to 4: half of the viewers take more.
    flags = ("--sur", 0.3, "--encode", folder, "--baseline", 5, "--output", output)
    _, printed = predict(photographs, *flags)
    levels = pd.read_csv(output).groupby("path", sort=False)["JND1@0.3"].min()
    report = pd.read_csv(folder / "report.csv")
    assert list(report["path"]) == list(levels.index) and list(report["qp"]) == [int(level) for level in levels]
    assert str(folder / "deep" / "a9.mp4") in set(report["target"])
    for target, qp in zip(report["target"], report["qp"]):
        assert {of_frame for _, of_frame in frame_qps(target)} == {qp}
    assert report["saving %"].iloc[0] == pytest.approx(100 * (1 - report["bytes"][0] / report["baseline bytes"][0]))
    assert "5 files encoded" in printed.out and "less than all of it at QP 5" in printed.out
    # What is missing is coded, what is there is left alone.
    os.remove(report["target"][1])
    written = os.stat(report["target"][0]).st_mtime_ns
    _, printed = predict(photographs, *flags, "--resume")
    assert os.stat(report["target"][0]).st_mtime_ns == written
    again = pd.read_csv(folder / "report.csv").set_index("path")
    assert f"5 files encoded, {report['bytes'].sum():,} bytes" in printed.out  # with those of before
    assert predict(photographs / "a10.png", *flags, "--resume")[0] == 0  # of the others' levels nothing is asked
    pd.testing.assert_frame_equal(again.sort_index(), report.set_index("path").sort_index())


def test_a_stopped_run_goes_on_where_it_was(predict_small, photographs, small_weights, tmp_path):
    predict, output = predict_small, tmp_path / "levels.csv"
    predict(photographs, "--output", output)
    whole = output.read_text()
    with pytest.raises(UserError, match="levels.csv: what an earlier run wrote; --resume goes on with it"):
        predict(photographs, "--output", output)
    header, first, second, _ = whole.splitlines(keepends=True)
    for left in (header, header + first, header + first + second, header + first + second[:-9]):
        output.unlink(missing_ok=True)
        output.with_name(".part-levels.csv").write_text(left)
        with pytest.raises(UserError, match="what an unfinished run left"):
            predict(photographs, "--output", output)
        _, printed = predict(photographs, "--output", output, "--resume")
        assert output.read_text() == whole and not output.with_name(".part-levels.csv").exists()
    write_png(photographs / "new.png", data.astronaut())
    _, printed = predict(photographs, "--output", output, "--resume")
    assert "3 files were done before" in printed.out and len(pd.read_csv(output)) == 4
    _, printed = predict(photographs, "--output", output, "--resume", "--frames", "first")  # nothing to an image
    assert "4 files were done before" in printed.out
    with pytest.raises(UserError, match="a9.png is by small .* stretch .* would be by small .* tiles"):
        predict(photographs, "--output", output, "--resume", "--fit", "tiles")
    with pytest.raises(UserError, match=r"is by small (\w{8}) .* would be by small (?!\1)"):
        weights = tmp_path / "others.h5"
        weights.write_bytes(small_weights.read_bytes() + b"other")
        predict(photographs, "--output", output, "--resume", weights=weights)
    with pytest.raises(UserError, match="other columns than this run writes"):
        output.write_text("path,JND2\na,1\n")
        predict(photographs, "--output", output, "--resume")


def test_a_file_that_changed_is_predicted_and_encoded_again(predict_small, photographs, tmp_path):
    predict, output, folder = predict_small, tmp_path / "levels.csv", tmp_path / "coded"
    flags = (photographs, "--output", output, "--encode", folder, "--baseline", "30", "--resume")
    predict(*flags)
    first, reported = (pd.read_csv(file).set_index("path") for file in (output, folder / "report.csv"))
    changed, *others = first.index
    time = os.stat(changed).st_mtime
    write_png(changed, data.rocket())
    os.utime(changed, (time, time))  # as a copy that keeps times; the size tells
    _, printed = predict(*flags)
    assert "2 files were done before" in printed.out
    for file, before in ((output, first), (folder / "report.csv", reported)):
        assert f"{changed}: changed since {file} was written: done again" in printed.err
        now = pd.read_csv(file).set_index("path")
        assert now["file"][changed] != before["file"][changed] and now["file"][others].equals(before["file"][others])
    assert now["bytes"][changed] != reported["bytes"][changed]
    os.utime(others[0], (time + 0.001, time + 0.001))
    _, printed = predict(*flags)
    assert "2 files were done before" in printed.out and f"{others[0]}: changed since" in printed.err

    pd.read_csv(output).drop(columns="file").to_csv(output, index=False)  # as an earlier version left it
    _, printed = predict(*flags)
    assert "3 files were done before" in printed.out
    assert (
        f"{output}: rows of an earlier version, which does not say of which files: kept by their names" in printed.err
    )


def test_what_a_row_depends_on_is_said_as_ever():
    """Files of earlier versions are gone on with."""
    config, digests = PredictionConfig(), ["1a2b3c4d5e6f", "00112233"]
    assert config.by("a.png", "LAT", digests[:1]) == "LAT 1a2b3c4d stretch float32"
    assert config.by("a.mp4", "LAT", digests[:1]) == "LAT 1a2b3c4d stretch float32 scenes+1s"
    config = PredictionConfig(resize_mode="crop", precision="bfloat16", input_size=(64, 96), frames="0,7", batch_size=8)
    assert config.by("x/a.mkv", "REC", digests) == "REC 1a2b3c4d 00112233 crop bfloat16 96x64 0,7"


def test_the_length_of_a_clip_is_asked_once(monkeypatch):
    """Raw H.264 does not say it, and FFmpeg would start for each frame."""
    asked, frames = [], [((Path("a.264"), number, number / 25), None) for number in range(50)]
    monkeypatch.setattr(common.cli.predict, "shows_bars", lambda: True)
    monkeypatch.setattr(common.cli.predict, "probe", lambda path: asked.append(path) or "Duration: N/A")
    assert list(common.cli.predict._with_progress(frames)) == frames and len(asked) == 1
