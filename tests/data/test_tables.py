"""One reader for all tables: each way of saving a table gives the same rows, or one line that says what is wrong."""

import codecs
from pathlib import Path

import pytest

from common.core.errors import UserError
from common.core.files import walk
from common.data.builder import DatasetBuilder
from common.data.tables import read_header, read_manifest, read_table
from common.data.videos import _read_labels

COLUMNS = ("name", "JND1", "JND2", "JND3")
LIMITS = {column: (0, 51) for column in COLUMNS[1:]}
PLAIN = "name,JND1,JND2,JND3\nb c.mp4,20,25.5,30\nc.mp4,21,26,31\n"
WAYS = {
    "plain": PLAIN,
    "Windows": PLAIN.replace("\n", "\r\n"),
    "old Macintosh": PLAIN.replace("\n", "\r"),
    "no last line end": PLAIN.rstrip(),
    "blank lines": "\n" + PLAIN.replace("\n", "\n\n"),
    "comments": '# of mine, "not\n' + PLAIN.replace("\nc", "\n # the other\nc"),
    "empty fields behind": PLAIN.replace("\n", ",,\n") + ",,,,,\n",
    "commas behind rows": "name,JND1,JND2,JND3\nb c.mp4,20,25.5,30,\nc.mp4,21,26,31,\n",
    "remarks behind rows": "name,JND1,JND2,JND3\nb c.mp4,20,25.5,30,ok\nc.mp4,21,26,31,noisy, rather\n",
    "spaces": PLAIN.replace(",", " , "),
    "tabs": PLAIN.replace(",", "\t"),
    "commas and tabs": PLAIN.replace(",", ",\t"),
    "semicolons": PLAIN.replace(",", ";"),
    "decimal commas": PLAIN.replace(",", ";").replace("25.5", "25,5"),
    "quotes": 'name,JND1,JND2,JND3\n"b c.mp4","20","25.5","30"\n"c.mp4","21","26","31"\n',
    "quoted header": '"name", "JND1", "JND2", "JND3"\n"b c.mp4", 20, 25.5, 30\nc.mp4,21,26,31\n',
    "row names of R": '"","name","JND1","JND2","JND3"\n"1","b c.mp4",20,25.5,30\n"2","c.mp4",21,26,31\n',
    "quotes and white space": '"name" "JND1" "JND2" "JND3"\n"b c.mp4" 20 25.5 30\n"c.mp4"  21 26  31\n',
    "other order": "JND3,remark,name,JND1,JND2\n30,,b c.mp4,20,25.5\n31,,c.mp4,21,26\n",
    "sep line of a spreadsheet": "sep=;\n" + PLAIN.replace(",", ";"),
}
ENCODED = {
    "UTF-8 with a mark": codecs.BOM_UTF8 + PLAIN.encode(),
    "UTF-16 little-endian": codecs.BOM_UTF16_LE + PLAIN.replace(",", "\t").encode("utf-16-le"),
    "UTF-16 big-endian": codecs.BOM_UTF16_BE + PLAIN.replace(",", ";").encode("utf-16-be"),
}
ALL = {name: text.encode() for name, text in WAYS.items()} | ENCODED


@pytest.mark.parametrize("way", ALL)
def test_ways_to_save_a_table(tmp_path, way):
    file = tmp_path / "a.csv"
    file.write_bytes(ALL[way])
    table = read_table(file, COLUMNS, LIMITS)
    assert table.to_numpy().tolist() == [["b c.mp4", 20, 25.5, 30], ["c.mp4", 21, 26, 31]]
    assert set(COLUMNS) <= read_header(file)
    assert list(table.columns) == list(COLUMNS)


@pytest.mark.parametrize("data", [PLAIN, PLAIN.replace(",", ";"), '"JND2";"name";"JND1";"JND3"\n' * 2])
def test_the_line_in_the_file_is_named(tmp_path, data):
    file = tmp_path / "a.csv"
    file.write_text(f"\n# a\n{data.replace('21', 'x')}")
    with pytest.raises(UserError) as caught:
        read_table(file, COLUMNS, LIMITS)
    assert f"{file}:{5 if data.count('x.') or '21' in data else 4}: JND" in str(caught.value)
    assert ("separated by ;" in str(caught.value)) == (";" in data)


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "no columns in it"),
        (b"name,JND1\n", "no column JND2, JND3"),
        (b"name;JND1\n", "expected a CSV file with the columns name, JND1, JND2, JND3; the file is separated by ;"),
        (b"name,JND1,JND2,JND3,JND1\na,1,2,3,4\n", "csv:1: two columns JND1"),
        (b"name,JND1,JND2,JND3\na,20,5,25,30\n", "csv:2: more fields than the 4 columns of the header"),
        (b"name,JND1,JND2,JND3\na,1,2\n", "csv:2: JND3 is ''; expected a number from 0 to 51"),
        (b"name,JND1,JND2,JND3\n\"a,1,2,3\nb,1,2,3\n", "csv:2: cannot be read (unexpected end of data)"),
        (b"name,JND1,JND2,JND3\ncaf\xe9,1,2,3\n", "not UTF-8 text"),
        (PLAIN.encode("utf-16-le"), "zero bytes"),
        (b"name,JND1,JND2,JND3" + b",x" * 10**6, "csv:1: 2,000,019 characters, at most 20,000 are read"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_one_line(tmp_path, data, said):
    file = tmp_path / "a.csv"
    file.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_table(file, COLUMNS, LIMITS)
    assert said in str(caught.value) and "\n" not in str(caught.value) and str(caught.value).startswith(str(file))


MANIFEST = 'split,image,clip,labels\ntrain,a.png,"x, y",pseudo-label (VMAF)\n'


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ways_to_save_a_manifest(tmp_path, separator, encoding):
    rows = [["split", "image", "clip", "labels"], ["train", "a.png", '"x, y"', "pseudo-label (VMAF)"]]
    text = "".join(separator.join(row) + "\n" for row in rows)
    (tmp_path / "manifest.csv").write_bytes(text.encode(encoding))
    table, faults = read_manifest(tmp_path)
    assert not faults
    assert table.to_dict("records") == [dict(zip(rows[0], ["train", "a.png", "x, y", "pseudo-label (VMAF)"]))]


def test_a_manifest_keeps_names_that_are_not_utf_8(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(b"split,image\ntest,caf\xe9.png\n")
    assert read_manifest(tmp_path)[0]["image"].tolist() == ["caf\udce9.png"]


@pytest.mark.parametrize(
    "text, said", [("split:image\n", "no column split and image"), ('split,image\n"test,a.png\n', "a quote missing")]
)
def test_a_manifest_that_cannot_be_read_is_a_fault(tmp_path, text, said):
    (tmp_path / "manifest.csv").write_text(text)
    _, faults = read_manifest(tmp_path)
    assert len(faults) == 1 and faults[0].startswith("manifest.csv") and said in faults[0]


def test_labels_of_clips_match_names_of_either_form(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("name,JND1,JND2,JND3\ncafe\u0301.mp4,20,25,30\n")
    builder = DatasetBuilder(tmp_path, "clips", "clip", jobs=1)
    assert _read_labels(builder, file, ["a/caf\xe9.mp4"]) == {"a/caf\xe9.mp4": (20, 25, 30)}
    assert not builder.left_out


def test_a_linked_folder_is_entered_once(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "own").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    for folder in (inside / "own", outside, outside / "deep"):
        (folder / "a.png").touch()
    for link, target in {
        "one": outside,
        "two": outside,
        "up": tmp_path,
        "loop": inside,
        "self": inside / "own",
    }.items():
        (inside / link).symlink_to(target)
    (outside / "back").symlink_to(inside)
    found = [Path(place, name) for place, _, names in walk(inside) for name in names]
    assert sorted(str(path.resolve().relative_to(tmp_path)) for path in found) == [
        "in/own/a.png",
        "out/a.png",
        "out/deep/a.png",
    ]
    names = DatasetBuilder(tmp_path / "root", "photos", "photograph", jobs=1).find_sources(inside, {".png"})
    assert len(names) == 3 and names[-1] == "own/a.png"
