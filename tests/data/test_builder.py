"""What `common.prepare` decides: which units are made, splits, crops, the search for levels."""

import json

import pytest

from common.core.errors import UserError
from common.data import photographs, pseudolabels
from common.data.builder import DatasetBuilder
from common.data.layout import SPLITS
from common.media.ffmpeg import EncodedImage

BUILDER = DatasetBuilder("nowhere", "test", "image", jobs=1)


def test_a_record_counts_only_with_its_files_and_goes_with_its_plan(tmp_path):
    def write(folder):
        (folder / "train").mkdir(parents=True)
        (folder / "train" / "a.png").touch()
        return [{"split": "train", "image": "a.png", "clip": "a", "JND1": 20, "JND2": 25, "JND3": 30}]

    def claim(**settings):
        new = DatasetBuilder(tmp_path, "test", "clip", jobs=1, overwrite=True)
        new.claim(settings, {}, {})
        return new

    first = claim(size=1)
    assert first.rows("a") is None
    assert first.run({"a": write}, str) == 0
    assert first.rows("a")
    (tmp_path / "train" / "a.png").unlink()
    assert first.rows("a") is None
    assert first.run({"a": write}, str) == 0
    assert claim(size=2).rows("a") is None and not (tmp_path / "train" / "a.png").exists()


def test_a_damaged_record_counts_as_none_and_a_damaged_plan_is_named(tmp_path):
    """JSON with other kinds of values in it, as `make fuzz` found; what a record names may be removed."""
    root, outside = tmp_path / "root", tmp_path / "outside.png"
    outside.touch()
    first = DatasetBuilder(root, "test", "clip", jobs=1, overwrite=True)
    first.claim({"size": 1}, {}, {})
    row = {"split": "train", "image": "a.png", "JND1": 20, "JND2": 25, "JND3": 30}
    for files, rows in (
        (["../../outside.png"], [row]),
        (3, [row]),
        ([[]], [row]),
        ([], [3]),
        ([], [{**row, "JND1": None}]),
        ([], [{**row, "split": ["train"]}]),
        ([], {}),
    ):
        (root / ".prepare" / "a.json").write_text(json.dumps({"files": files, "rows": rows}))
        assert first.rows("a") is None
        first.claim({"size": 1 + len(str(files))}, {}, {})
    assert outside.exists()
    plan = root / ".prepare" / "plan.json"
    for name in ("settings", "sources"):
        plan.write_text(json.dumps({**json.loads(plan.read_text()), name: ["x"]}))
        with pytest.raises(UserError, match="plan.json: damaged"):
            first.claim({"size": 0}, {}, {})


@pytest.mark.parametrize(
    "count, split, sizes",
    [
        (23, [0.7, 0.15, 0.15], [16, 4, 3]),
        (3, [0.7, 0.15, 0.15], [1, 1, 1]),
        (10, [0.8, 0.2, 0.0], [8, 2, 0]),
        (10, [5.0, 2.0, 1.0], [5, 2, 1]),
        (2, [1.0, 0.0, 0.0], [2, 0, 0]),
    ],
)
def test_split_sizes(count, split, sizes):
    names = [f"p{i}.png" for i in range(count)]
    given = BUILDER.assign_splits(names, split, 0)
    assert [list(given.values()).count(name) for name in SPLITS] == sizes
    assert given == BUILDER.assign_splits(names[::-1], split, 0)
    assert count < 10 or given != BUILDER.assign_splits(names, split, 1)


def test_crops_differ_in_place_and_scale():
    boxes = photographs.crop_boxes(1920, 1080, 6, "seed")
    assert len({box[2] for box in boxes}) == len({box[:2] for box in boxes}) == 6
    assert all(640 <= width <= 1920 and abs(height - width * 9 / 16) <= 0.5 for _, _, width, height in boxes)
    assert photographs.crop_boxes(640, 360, 4, "seed") == [(0, 0, 640, 360)]  # no room for a second
    assert photographs.crop_boxes(320, 400, 1, "seed")[0][2:] == (320, 180)


@pytest.mark.parametrize(
    "knees, levels",
    [((24, 31, 35), [24, 31, 35]), ((0, 0, 7), [1, 1, 7]), ((51, 51, 51), [51, 51, 51]), ((20, 20, 20), [20, 20, 20])],
)
def test_the_search(monkeypatch, knees, levels):
    """On curves that cross the thresholds behind `knees`, with far fewer than 51 encodes, none of them twice."""
    asked = []

    def scored(pixels, qp, with_vmaf):
        asked.append(qp)
        return EncodedImage(pixels, b"", 60 - qp / 10 + 11 * sum(qp <= knee for knee in knees))

    monkeypatch.setattr("common.media.ffmpeg.encode_intra", scored)
    found, coded = pseudolabels.find_levels(None, (86, 75, 64))
    assert found == levels and set(levels) <= set(coded)
    assert len(asked) == len(set(asked)) <= 18


def test_a_share_of_nothing_is_refused():
    with pytest.raises(UserError, match="0 usable"):
        BUILDER.assign_splits([], [0.7, 0.15, 0.15], 0)


def test_plans_are_stable():
    """Crops and splits of a seed are part of a dataset: they must not change from one version to the next."""
    assert photographs.crop_boxes(1920, 1080, 2, "0 abc") == [(196, 107, 1181, 664), (834, 370, 903, 508)]
    assert BUILDER.assign_splits(["a", "b", "c"], [1.0, 1.0, 1.0], 0) == {"c": "train", "a": "valid", "b": "test"}
