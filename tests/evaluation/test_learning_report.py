"""The report of benchmarks.learning says what the files of an experiment say, and the rivals learn."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import learning, learning_report, rivals
from common.core.environment import PROJECT
from common.data.dataset import Split
from common.data.labels import write_labels
from common.media.images import write_png

RUNS = {run.name: run for run in learning.RUNS}
IMAGES = [f"{name}_{crop}.png" for name in "abcdef" for crop in (1, 2)]  # of six photographs
TRUE = np.arange(20.0, 32.0)


@pytest.fixture
def experiment(tmp_path):
    """One in which LAT is 1 QP off, E2E-LAT was stopped before it predicted, and the ridge is 2 QP off."""
    made = learning.Experiment(tmp_path)
    sources = [name[0] for name in IMAGES]
    manifest = {"split": "test", "image": IMAGES, "photograph": sources, "JND1": TRUE, "JND2": TRUE, "JND3": TRUE}
    median = {level: [26.0, 26.0] for level in ("JND1", "JND2", "JND3")}
    train = {"split": ["train", "valid"], "image": ["y.png", "z.png"], "photograph": ["y", "z"], **median}
    made.rootdir.mkdir()
    pd.concat(map(pd.DataFrame, (train, manifest))).to_csv(made.rootdir / "manifest.csv", index=False)
    folder = tmp_path / "rivals"
    folder.mkdir()
    (folder / "search.json").write_text(json.dumps({"one level": 4.0, "three levels": 5.0, "LAT": 0.25}))
    for name in rivals.RIDGES:
        predicted(TRUE + 2).to_csv(folder / f"{name}.csv", index=False)
    trained(made, RUNS["LAT JND1"], {"val_loss": 1.25})
    trained(made, RUNS["E2E-LAT"], {"val_loss": 9.0, "val_JND_output_loss": 1.75}, status="interrupted")
    predicted(TRUE + 1).to_csv(made.result(RUNS["LAT JND1"]), index=False)
    return made


def predicted(values):
    return pd.DataFrame({"image": IMAGES, "JND1": values, "JND1_label": TRUE})


def trained(made, run, logs, status="finished"):
    made.folder(run).mkdir(parents=True)
    column = "JND_output_loss" if len(run.spec.outputs) > 1 else "loss"
    made.files(run).log.write_text(f"epoch;{column};val_{column}\n0;3;4\n1;2;3\n")
    size, precision = ([64, 96], "mixed_bfloat16") if run.name == "E2E-LAT" else (None, "float32")
    settings = {"epochs": 2, "input_size": size, "precision": precision}
    record = {"arguments": settings, "best": {"epoch": 2, "logs": logs}, "seconds": 1800, "status": status}
    record |= {"device": ["gpu:0"], "versions": {"jax": "1"}, "git_commit": "abc", "command": ["LAT.py", "train"]}
    made.files(run).sibling("run", ".json").write_text(json.dumps(record))


def test_the_table_has_what_was_predicted_and_what_was_only_trained(experiment, tmp_path, capsys):
    learning_report.write(experiment, learning.RUNS, tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    header, table = rows[0], {row[0]: dict(zip(rows[0], row)) for row in rows[2:]}
    assert header[:3] == ["model", "level", "error, QP"]
    lat, stopped = table["LAT JND1"], table["E2E-LAT"]
    assert (
        lat["error, QP"].startswith("1.00 (")
        and lat["ratio"].startswith("0.33 (")
        and lat["minus the ridge's"].startswith("-1.00 (-1.00 ")
    )
    assert (lat["median's"], lat["error on valid"], lat["hours"]) == ("3.00", "1.25", "0.50")
    assert (lat["best epoch"], lat["trained on"], lat["training"]) == ("2 of 2", "gpu:0, jax", "finished")
    assert stopped["ratio"] == "not tested" and stopped["error, QP"] == "" and stopped["error on valid"] == "1.75"
    assert stopped["input"] == "96x64" and stopped["training"] == "stopped early"
    assert table["ridge without encoder"]["error, QP"].startswith("2.00 (") and "LAT takes 0.25 s." in text
    assert (tmp_path / "report" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(tmp_path / "report" / "results.csv")) == 4


@pytest.mark.parametrize(("epochs", "settled"), [(1, 0), (5, 2), (16, 4)])
def test_a_training_settles_in_its_second_half_at_most(epochs, settled, tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(learning, "run_python", lambda *command, seconds: commands.append(command))
    learning.train(RUNS["MJ-LAT"], learning.Experiment(tmp_path), None, {"epochs": epochs})
    assert commands[0][commands[0].index("--settle") + 1] == settled


def test_a_training_goes_on_as_it_began(experiment, monkeypatch):
    commands = []
    monkeypatch.setattr(learning, "run_python", lambda *command, seconds: commands.append(" ".join(map(str, command))))
    learning.train(RUNS["LAT JND1"], experiment, None, {})
    learning.train(RUNS["E2E-LAT"], experiment, None, {})
    [command] = commands  # the other is finished
    assert "--epochs 2 " in command and "--precision mixed_bfloat16 " in command
    assert "--input_size 64 96 " in command and command.endswith(" --resume")


def test_ridge_learns_levels_from_features(tmp_path):
    random, splits, rows = np.random.default_rng(0), {}, []
    for name, count in (("train", 60), ("valid", 20), ("test", 20)):
        texture = random.normal(size=count)
        labels = np.stack([25 + 2 * texture, 30 + texture**2, 40 - texture], 1)
        paths = [tmp_path / f"{name}{number}.png" for number in range(count)]
        splits[name] = Split(name, tmp_path, tuple(paths), labels)
        rows += [
            {"split": name, "image": path.name, "texture": t, "noise": random.normal()}
            for path, t in zip(paths, texture)
        ]
    table = rivals.ridge(pd.DataFrame(rows), splits)
    for level in ("JND1", "JND2", "JND3"):
        assert (table[level] - table[f"{level}_label"]).abs().mean() < 0.1


def test_shuffled_labels_are_the_same_labels_in_another_order(tmp_path):
    root, labels = tmp_path / "root", np.arange(60.0).reshape(20, 3) / 2
    for split in ("train", "valid"):
        (root / split).mkdir(parents=True)
        names = [f"{number:02}.png" for number in range(20)]
        for name in names:
            write_png(root / split / name, np.zeros((16, 16, 3), np.uint8))
        write_labels(root / split, names, labels)
    learning.shuffle_labels(root, tmp_path / "shuffled")
    read = {split: np.loadtxt(tmp_path / "shuffled" / split / "JND-Levels.txt") for split in ("train", "valid")}
    assert (read["valid"] == labels).all() and not (read["train"] == labels).all()
    assert sorted(map(tuple, read["train"])) == sorted(map(tuple, labels))


def test_the_committed_report_is_of_the_runs_that_there_are():
    results = pd.read_csv(PROJECT / "docs" / "learning" / "results.csv")
    assert set(results["model"]) <= {*RUNS, *rivals.RIDGES}
