"""The papers' tables: measures against numbers worked out by hand, and the whole command on a small dataset."""

import shlex
import shutil

import numpy as np
import pandas as pd
import pytest

from common import evaluate
from common.cli.script import run_script
from common.core.errors import UserError
from common.core.files import sha256
from common.data.dataset import Split
from common.data.levels import qp_mae
from common.evaluation import accuracy, comparison, costs, trials
from common.media import ffmpeg, metrics
from common.media.images import read_image
from LAT import LAT


def four_images(**columns):
    """Four images of four sources, predicted 2 QP too high, 1 too low, 0.4 and 1 too high."""
    table = {
        "true": [24.0, 26, 28, 30],
        "predicted": [26.0, 25, 28.4, 31],
        "median": [27.0] * 4,
        "source": list("abcd"),
        "PSNR": [-1.2, 0.6, 0, -0.4],
        "SSIM": [-0.02, 0.01, 0, 0],
        "VMAF": [-4.0, 2, 0, 0],
        "bytes": [90, 120, 100, 100],
        "fixed bytes": [110, 110, 110, 110],
        "satisfied": [0.5, 1, 0.75, 0.75],
    }
    return pd.DataFrame({**table, **columns})


def test_measures_are_those_of_a_pocket_calculator():
    found = accuracy.measure(four_images())
    expected = {
        "MAE": 1.1,
        "floor": (3 + 1 + 1 + 3) / 4,
        "skill": 1 - 1.1 / 2,
        "RMSE": (6.16 / 4) ** 0.5,
        "bias": 0.6,
        "Spearman": 0.8,
        "within 1": 0.75,
        "within 2": 1,
        "PSNR": 0.55,
        "SSIM": 0.0075,
        "VMAF": 1.5,
        "overshoot": 0.5,  # 28.4 is coded at 28
        "overshoot QP": 1.5,
        "overshoot dB": 0.8,
        "rate saved": 1 - 410 / 440,
        "satisfied": 0.75,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["Pearson"] == pytest.approx(np.corrcoef([24, 26, 28, 30], [26, 25, 28.4, 31])[0, 1])
    for name, least, most in (("MAE", 0, 2), ("Pearson", -1, 1), ("Spearman", -1, 1)):
        assert least <= found[f"{name} low"] < found[name] < found[f"{name} high"] <= most
    assert found == accuracy.measure(four_images())  # the same draws again


def test_what_is_not_known_is_not_a_number():
    found = accuracy.measure(four_images(predicted=25.0, satisfied=np.nan, median=np.nan))
    for name in ("Pearson", "Spearman", "satisfied", "floor", "skill"):
        assert np.isnan(found[name]) and f"{name} low" not in found


def test_the_rank_correlation_of_a_draw_is_that_of_the_images_drawn():
    table, draw = pd.concat([four_images()] * 2, ignore_index=True), np.array([2, 0, 1, 1])
    table["predicted"] += [0, 0, 0, 0, 3, -1, 1, -2]
    source = np.tile(range(4), 2)
    found = accuracy._measures(table, draw[source][None])["Spearman"]
    drawn = table.loc[table.index.repeat(draw[source])]
    assert found == pytest.approx([drawn["predicted"].rank().corr(drawn["true"].rank())])


def test_images_whose_subjects_are_not_known_count_in_no_share():
    found = accuracy.measure(four_images(satisfied=[0.5, np.nan, 0.6, 0.7]))
    assert found["satisfied"] == pytest.approx(0.6) and 0.5 <= found["satisfied low"] <= 0.6 <= found["satisfied high"]


def test_images_of_one_source_count_as_one_draw():
    """Twice the images of the same sources give the same interval; two sources give none."""
    once, twice = four_images(), pd.concat([four_images()] * 2)
    width = [found["MAE high"] - found["MAE low"] for found in map(accuracy.measure, (once, twice))]
    assert width[0] == pytest.approx(width[1])
    assert "MAE low" not in accuracy.measure(four_images(source=list("aabb")))


@pytest.mark.parametrize(
    "share, mixture",
    [(0, (24, 25, 0)), (0.25, (26, 27, 0)), (0.375, (26, 27, 0.5)), (1, None)],
)
def test_the_fixed_qp_of_equal_risk(share, mixture):
    assert accuracy.equal_risk([24, 26, 28, 30], share) == mixture


def test_each_level_is_compared_with_its_own_labels(tmp_path):
    """A model predicts all three levels of three images: a QP too high, a QP too low, and right."""

    class Coded:
        @staticmethod
        def measure(wanted, jobs):
            def at(qp):
                return {"psnr luma": 60 - qp, "ssim": 1 - qp / 100, "vmaf": 100 - 2 * qp, "bytes": 1000 - 10 * qp}

            return {path: ({qp: at(qp) for qp in qps}, 7.0) for path, qps in wanted.items()}

    levels, names = np.array([[24, 29, 34]] * 3), ["a.png", "b.png", "c.png"]
    predicted = levels + [[1], [-1], [0]]
    pd.DataFrame(predicted, columns=["JND1", "JND2", "JND3"]).to_csv(tmp_path / "MJ-LAT.csv", index=False)
    split = Split("test", tmp_path, tuple(tmp_path / name for name in names), levels)
    data = comparison.EvaluationData("root", split, np.array([23.0, 28.5, 35.0]), "human", names, {})
    trial = trials.Trial("MJ-LAT", None, tmp_path / "MJLAT.h5", tmp_path / "MJ-LAT.csv", [])
    table = comparison.compare(data, [trial], Coded, psnr="luma", jobs=1)
    for level, true, median in ((1, 24, 23), (2, 29, 28.5), (3, 34, 35)):
        part = table[table["level"] == level]
        assert list(part["true"]) == [true] * 3 and list(part["median"]) == [median] * 3
        assert list(part["predicted"]) == [true + 1, true - 1, true]
        assert list(part["PSNR"]) == [-1, 1, 0] and list(part["VMAF"]) == [-2, 2, 0]
        assert list(part["bytes"]) == [990 - 10 * true, 1010 - 10 * true, 1000 - 10 * true]
        # The mixture with the same risk of one in three: two images at the true QP, one a QP above.
        assert part["fixed bytes"].to_numpy() == pytest.approx(1000 - 10 * (true + 1 / 3))


@pytest.fixture(scope="module")
def dataset(rootdir, tmp_path_factory):
    """The small rootdir with a manifest and sheets, as if each image were a clip of VideoSet."""
    root = tmp_path_factory.mktemp("evaluate") / "root"
    shutil.copytree(rootdir, root)
    rows = [
        {
            "split": "test",
            "image": f"img{n}.png",
            "clip": f"SRC00{n}",
            "unit": "QP",
            "labels": "human (VideoSet 8x8, jnd)",
        }
        for n in (1, 2, 3)
    ]
    pd.DataFrame(rows).to_csv(root / "manifest.csv", index=False)
    for place in ("1st", "2nd", "3rd"):
        sheet = pd.DataFrame({"sequence_index": [1, 2, 3], "samples": [str(list(range(52)))] * 3})
        sheet.to_csv(root / f"8x8_{place}.csv", index=False)
    return root


@pytest.fixture(scope="module")
def output(dataset, weight_files):
    """The folder that the command writes for this dataset."""
    folder = dataset.parent / "results"
    assert command(dataset, weight_files, folder, "--sheets", dataset) == 0
    return folder


def command(root, weights, output, *more):
    return evaluate.main([*map(str, ("--data_dir", root, "--weights", weights, "--output", output, *more))])


def test_the_tables_say_what_the_predictions_are_worth(dataset, output):
    predicted = pd.read_csv(output / "predictions" / "LAT_JND1.csv")
    row, *others = pd.read_csv(output / "results.csv").to_dict("records")
    assert not others
    assert (row["model"], row["level"], row["pictures"], row["labels"]) == ("LAT", 1, 3, "human (VideoSet 8x8, jnd)")
    error = qp_mae(predicted["JND1"], predicted["JND1_label"])
    assert row["MAE"] == pytest.approx(error) and row["floor"] == pytest.approx(1.5)
    differences, satisfied = [], []
    for name, level, true in predicted.itertuples(index=False):
        image, qp = read_image(dataset / "test" / name), round(level)
        lumas = [metrics.luma(ffmpeg.encode_intra(image, int(at)).pixels) for at in (qp, true)]
        db = [metrics.psnr(metrics.luma(image), coded) for coded in lumas]
        differences.append(abs(db[0] - db[1]))
        satisfied.append((51 - qp) / 52)
    assert row["PSNR"] == pytest.approx(np.mean(differences))
    assert row["satisfied"] == pytest.approx(np.mean(satisfied))
    text = (output / "results.md").read_text()
    assert f"{error:.2f}" in text and "not run" not in text
    assert f"benchmarks.complexity --backends installed --csv {output / 'complexity.csv'} --models LAT`" in text
    for name in ("predicted", "errors", "content", "strip_JND1"):
        assert read_image(output / f"{name}.png").std() > 5


def test_the_readme_has_the_commands_that_make_it_again(dataset, output, weight_files, tmp_path):
    text = (output / "README.md").read_text()
    assert sha256(weight_files / "LATJND1.h5") in text
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("    ")]
    evaluation, test = (command[command.index("python3") + 1 :] for command in commands)
    assert evaluation[:2] == ["-m", "common.evaluate"] and test[:2] == ["LAT.py", "test"]
    again = [argument.replace(str(output), str(tmp_path)) for argument in test]
    assert run_script("", LAT, arguments=again[1:]) == 0
    name = "predictions/LAT_JND1.csv"
    assert (tmp_path / name).read_bytes() == (output / name).read_bytes()


def test_pseudo_labels_are_not_compared_with_the_papers(dataset, output, weight_files, tmp_path, capsys, monkeypatch):
    manifest, other = pd.read_csv(dataset / "manifest.csv"), tmp_path / "results"
    shutil.copytree(output, other)
    for note in (other / "predictions").glob("*.txt"):
        note.write_text(note.read_text().replace(str(output), str(other)))
    rows = {"model": "LAT", "backend": ["jax", "torch"], "precision": "bfloat16", "GMAC": [8.8, np.nan]}
    table = pd.DataFrame({**rows, "failed": [np.nan, "no reason"], "machine": "a machine, 2 cores"})
    table.to_csv(other / "complexity.csv", index=False)
    monkeypatch.setattr(trials, "run_python", None)  # images and weights have not changed: nothing is
    monkeypatch.setattr(ffmpeg, "encode_intra", None)  # predicted or coded again
    try:
        manifest.assign(labels="pseudo-label (VMAF)").to_csv(dataset / "manifest.csv", index=False)
        assert command(dataset, weight_files, other, "--psnr", "rgb") == 0
    finally:
        manifest.to_csv(dataset / "manifest.csv", index=False)
    assert "LAT JND1: done before" in capsys.readouterr().out
    ours, videoset = (other / "results.md").read_text().split("## VideoSet: not run")
    assert "pseudo-label (VMAF)" in ours and "paper" not in ours and "1.57" in videoset
    assert (
        "## Costs, on a machine, 2 cores" in ours and "--models LAT --backends jax torch --precisions bfloat16`" in ours
    )
    assert "| LAT | torch | bfloat16 |  | no reason |" in ours and "was not measured" not in ours
    table = pd.read_csv(other / "results.csv")
    assert table["MAE"].notna().sum() == 1 and table["paper MAE"][table["MAE"].notna()].isna().all()
    assert table["PSNR"][0] != pd.read_csv(output / "results.csv")["PSNR"][0]
    assert (other / "index.html").read_text().count('"size":[320,180]') == 3


@pytest.mark.parametrize("changed", ["weights", "image"])
def test_what_changed_is_predicted_again(changed, dataset, output, weight_files, monkeypatch):
    monkeypatch.setattr(trials, "run_python", lambda *arguments, **settings: 2)
    (dataset / "test" / "img2.png" if changed == "image" else weight_files / "LATJND1.h5").touch()
    with pytest.raises(UserError, match="none of the weight files could be used; first, LAT JND1: its test ended"):
        command(dataset, weight_files, output)


def test_bad_input_is_one_line(dataset, weight_files, tmp_path):
    def line(root, weights, *more):
        with pytest.raises(UserError) as error:
            evaluate.main(["--data_dir", str(root), "--weights", str(weights), "--output", str(tmp_path / "o"), *more])
        assert not (tmp_path / "o").exists()
        return str(error.value)

    (tmp_path / "complexity.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="complexity.csv: no column model, backend, precision; expected a CSV file"):
        costs.read_costs(["LAT"], tmp_path / "complexity.csv", measure=False)
    root, weights = tmp_path / "root", tmp_path / "weights"
    shutil.copytree(dataset, root)
    weights.mkdir()
    assert "no model's weights" in line(root, weights)
    for name in ("LATJND1.h5", "BestModelJND1.h5"):
        (weights / name).symlink_to(weight_files / "LATJND1.h5")
    assert "BestModelJND1.h5 and LATJND1.h5 are both LAT JND1" in line(root, weights)
    (weights / "BestModelJND1.h5").unlink()
    (root / "8x8_2nd.csv").write_text("sequence_index,samples\n1,many\n")
    assert "8x8_2nd.csv:2: samples are 'many'; expected a list" in line(root, weights, "--sheets", str(root))
    manifest = pd.read_csv(root / "manifest.csv")
    manifest.assign(**{f"samples at JND{n}": "[52]" for n in (1, 2, 3)}).to_csv(root / "manifest.csv", index=False)
    assert "manifest.csv: img1.png: samples are '[52]'; expected a list" in line(root, weights)
    manifest.assign(unit="QF").to_csv(root / "manifest.csv", index=False)
    assert "manifest.csv: labels in QF; expected QP" in line(root, weights)
    manifest.assign(labels=["pseudo-label (VMAF)", "human", "human"]).to_csv(root / "manifest.csv", index=False)
    assert "labels of two kinds" in line(root, weights)
