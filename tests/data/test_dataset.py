"""The rootdir layout: order, matching, and everything wrong listed together."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from common.core.errors import UserError
from common.data.dataset import list_images, match_images, read_splits
from common.data.labels import write_labels


def make_images(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(folder / name)


def make_split(root, levels, names=("img10.png", "img2.png", "img1.png"), split="train"):
    make_images(root / split, *names)
    if levels is not None:
        (root / split / "JND-Levels.txt").write_bytes(levels if isinstance(levels, bytes) else levels.encode())


def read(root, split="train", **options):
    splits, warnings = read_splits(root, [split], **options)
    assert not warnings
    return splits[split]


def error_of(call, *arguments, **options):
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    return str(caught.value)


PLAIN = [[20, 30, 31], [21, 31, 32.5], [22, 33, 34]]


def test_rows_belong_to_images_in_natural_order(tmp_path):
    make_split(tmp_path, "20 30 31\n21 31 32.5\n22 33 34\n")
    split = read(tmp_path)
    assert [image.name for image in split.images] == ["img1.png", "img2.png", "img10.png"]
    assert split.folder == tmp_path / "train" and split.name == "train" and len(split) == 3
    assert split.labels.dtype == np.float32 and split.labels.tolist() == PLAIN


@pytest.mark.parametrize(
    "text",
    [
        "20,30,31\n21,31,32.5\n22,33,34",
        "20, 30, 31,\n21 , 31, 32.5\n22,33,34\n,,,\n",
        "20\t30\t31\n21\t31\t32.5\n22 33  34\n",
        b"\xef\xbb\xbf20 30 31\r\n21 31 32.5\r\n\r\n22 33 34\r\n\r\n",
        "# QP\nJND1 JND2 JND3\n20 30 31\n  # the next\n21 31 32.5\n22 33 34",
        "name,JND1,JND2,JND3\nimg10.png,22,33,34\nimg1.png,20,30,31\nimg2.png,21,31,32.5\n",
        "img10.png 22 33 34\nimg2.png 21 31 32.5\nimg1.png 20 30 31\n",
        "name,JND3,JND2,JND1\nimg10.png,34,33,22\nimg1.png,31,30,20\nimg2.png,32.5,31,21\n",
        "jnd2 jnd1 jnd3\n30 20 31\n31 21 32.5\n33 22 34\n",
        "JND 3;name;remark;JND 1;JND 2\n34;img10.png;;22;33\n31;img1.png;odd;20;30\n32,5;img2.png;;21;31\n",
        "20;30;31\n21;31;32,5\n22;33;34\n",
        "sep=;\n20;30;31;\n21;31;32,5;\n22;33;34;\n;;;\n",
        "JND1,JND2,JND3\nimg10.png,22,33,34\nimg1.png,20,30,31\nimg2.png,21,31,32.5\n",
        '"name" "JND1" "JND2" "JND3"\n"img10.png" 22 33 34\n"img2.png" 21 31 32.5\n"img1.png" 20 30 31\n',
        '20,30,31 # the first\n21,31,32.5, # said "no, no\n22,33,34,#\n',
        "20 30 31 # the first\n21\t31 32.5 #\n22 33 34\n",
        "name,JND1,JND2,JND3\nimg10.png,22,33,34,a remark\nimg1.png,20,30,31,\nimg2.png,21,31,32.5\n",
        "20 30 31\n21 31 32.5\n22 33 34\n".encode("utf-16"),
        b"20 30 31\r21 31 32.5\r22 33 34\r",
        b"\xef\xbb\xbfname,JND1,JND2,JND3\nimg10.png,22,33,34\nimg1.png,20,30,31\nimg2.png,21,31,32.5\n",
        "# from NumPy\n# JND3 JND1 JND2\n31 20 30\n32.5 21 31\n34 22 33\n",
        "# JND1 JND2 and JND3\n20 30 31\n21 31 32.5\n22 33 34\n",
    ],
    ids=[
        *("commas", "spreadsheet", "tabs", "windows", "comments", "names", "names and spaces", "header of other order"),
        *("header and spaces", "header of other order, semicolons", "decimal commas", "spreadsheet, semicolons"),
        *(
            "header without names",
            "quotes and spaces",
            "comments behind",
            "and spaces",
            "remarks behind",
            "UTF-16",
            "old Macintosh",
        ),
        *("header behind a mark", "header of NumPy", "a comment that is none"),
    ],
)
def test_ways_to_write_the_levels(tmp_path, text):
    make_split(tmp_path, text)
    assert read(tmp_path).labels.tolist() == PLAIN


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_compare_and_order_in_one_form(tmp_path, form):
    """A name with its accents composed or decomposed, as macOS keeps it, is the same name."""
    names = [unicodedata.normalize(form, name) for name in ("z.png", "eb.png", "\xe9a.png")]
    make_split(tmp_path, "20 30 31\n21 31 32.5\n22 33 34\n", names=names)
    assert [image.name for image in read(tmp_path).images] == [names[1], names[0], names[2]]
    for other in ("NFC", "NFD"):
        rows = [f"{unicodedata.normalize(other, name)},20,30,31" for name in names]
        (tmp_path / "train" / "JND-Levels.txt").write_text("\n".join(rows))
        assert len(read(tmp_path)) == 3
        folder = tmp_path / f"jnd1{other}"
        make_images(folder, *(unicodedata.normalize(other, name) for name in names))
        matches = match_images(read(tmp_path), folder)
        assert [unicodedata.normalize("NFC", path.name) for path in matches] == ["eb.png", "z.png", "\xe9a.png"]


def test_names_with_spaces_and_commas(tmp_path):
    make_split(tmp_path, 'a b.png, 1, 2, 3\n"c, d.png", 4, 5, 6\n', names=["c, d.png", "a b.png"])
    assert read(tmp_path).labels.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_only_images_count(tmp_path):
    make_split(tmp_path, "1 2 3\n4 5 6\n", names=["b.PNG", "a.jpg"])
    for name in ("Thumbs.db", ".DS_Store", "._a.jpg", ".part-0.png", "notes.txt"):
        (tmp_path / "train" / name).write_text("no image")
    (tmp_path / "train" / "more.png").mkdir()
    assert [image.name for image in read(tmp_path).images] == ["a.jpg", "b.PNG"]


def test_labels_may_be_absent_but_not_wrong(tmp_path):
    make_split(tmp_path, None, split="test")
    assert read(tmp_path, "test", labels="optional").labels is None
    assert "JND-Levels.txt: no such file" in error_of(read, tmp_path, "test")
    (tmp_path / "test" / "JND-Levels.txt").write_text("1 2\n3 4 5\n6 7 8\n")
    assert "JND-Levels.txt:1: 2 numbers" in error_of(read, tmp_path, "test", labels="optional")


@pytest.mark.parametrize(
    "text, found",
    [
        ("1 2 3\n4 5 6\n", "2 rows, but 3 images"),
        ("JND1 JND2 JND3\n1 2 3\n4 5 6\n", "2 rows below the header in line 1, but 3 images"),
        ("1 2 3\n4 5 6\n7 8 9\n1 2 3\n", "4 rows, but 3 images"),
        ("1 2 3\n4 5\n7 8 9\n", "txt:2: 2 numbers where three"),
        ("1 2 3\n\n4 5 6 7\n7 8 9\n", "txt:3: 4 numbers where three"),
        ("1 2 3\n4 x 6\n7 8 9\n", "txt:2: 'x' is not a number"),
        ("1 2 3\n4 2_4 26\n7 8 9\n", "txt:2: '2_4' is not a number"),
        ("1 2 3\n4 nan 6\n7 8 9\n", "txt:2: nan is not a finite number"),
        ("1 2 3\n4 5 inf\n7 8 9\n", "txt:2: inf is not a finite number"),
        ("1 2 3\n4 5 51.5\n7 8 9\n", "txt:2: 51.5 is outside 0 to 51"),
        ("1 2 3\n-1 5 6\n7 8 9\n", "txt:2: -1 is outside 0 to 51"),
        ("img1.png 1 2 3\nimg2.png 1 2 3\n", "no row for img10.png"),
        ("img1.png 1 2 3\nimg2.png 1 2 3\nimg10.png 1 2 3\nimg3.png 1 2 3\n", "txt:4: no image 'img3.png'"),
        (
            "img1.png 1 2 3\nimg2.png 1 2 3\nimg2.png 1 2 3\nimg10.png 1 2 3\n",
            "txt:3: 'img2.png' again, it has a row in ",
        ),
        (b"\xff1 2 3\n", "not UTF-8 text"),
        (b"\xff\xfe1\0 ", "not UTF-8 text"),  # UTF-16 cut short
        (b"1\0 \x002\0", "zero bytes"),
        ("name,JND1,JND2\nimg1.png,1,2\n", "txt:1: the header 'name JND1 JND2' does not name the levels"),
        ("name,JND1,JND2,JND1\nimg1.png,1,2,3\n", "txt:1: the header 'name JND1 JND2 JND1' does not name the levels"),
        (
            "name;a;b;c\nimg1.png;1;2;3\n",
            "does not name the levels; expected JND1, JND2 and JND3 in it, or no header; ",
        ),
        ("name;a;b;c\nimg1.png;1;2;3\n", "separated by ;"),
        ("1;2;3\n4;5;6\n", "2 rows, but 3 images"),
        ("1;2;3\n4;5;6\n", "separated by ;"),
        (
            "1;2;x\n4;5;6\n7;8;9\n",
            "txt:1: 'x' is not a number; expected JND1, JND2, JND3, each QP 0 to 51; the file is s",
        ),
        ("name,JND1,JND2,JND3\nimg1.png,20,5,30,31\n", "txt:2: more fields than the header in line 1 names"),
        ("row,JND1,JND2,JND3\n1,1,2,3\n2,4,5,6\nend\n", "txt:4: 0 numbers where three"),
        ('img1.png,1,2,3\n"img2.png,4,5,6\nimg10.png,7,8,9\n', "is a quote missing?"),
        ("", "0 rows, but 3 images"),
    ],
)
def test_a_wrong_label_file_is_one_line(tmp_path, text, found):
    make_split(tmp_path, text)
    message = error_of(read, tmp_path)
    assert message.startswith(str(tmp_path / "train" / "JND-Levels.txt")) and "\n" not in message
    assert found in message


def test_quality_factors_reach_100_and_descend(tmp_path):
    make_split(tmp_path, "90 50 20\n100 51 0\n80 80 79\n")
    assert read(tmp_path, unit="QF").labels[1].tolist() == [100, 51, 0]
    assert "90 is outside 0 to 51" in error_of(read, tmp_path)


def test_levels_that_run_the_wrong_way_are_summed_up(tmp_path):
    make_split(tmp_path, "# QP\n3 2 1\n4 4 4\n1 3 2\n")
    splits, warnings = read_splits(tmp_path, ["train"])
    assert len(splits["train"]) == 3
    assert warnings == ["train/JND-Levels.txt: 2 rows where levels do not ascend (lines 2, 4)"]
    _, warnings = read_splits(tmp_path, ["train"], unit="QF")
    assert warnings == ["train/JND-Levels.txt: 1 row where levels do not descend (line 4)"]


def test_everything_wrong_is_listed_together(tmp_path):
    make_split(tmp_path, "1 2 3\n4 5 60\n")
    make_split(tmp_path, "1 2 3\n4 5 6\n7 8 9\n", split="valid")
    broken = tmp_path / "valid" / "img2.png"
    broken.write_bytes(broken.read_bytes()[:50])
    (tmp_path / "valid" / "img1.png").write_bytes(b"")
    heading, *lines = error_of(read_splits, tmp_path, ["train", "valid", "test"]).splitlines()
    assert heading == f"5 problems in {tmp_path}:"
    starts = [
        "train/JND-Levels.txt:2: 60 is",
        "train/JND-Levels.txt: 2 rows, but 3",
        "test: no such folder",
        "valid/img1.png: an empty file",
        "valid/img2.png: cannot be decoded",
    ]
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"  {start}")


def test_a_long_list_is_cut(tmp_path):
    names = [f"img{number}.png" for number in range(57)]
    make_split(tmp_path, "1 2\n" * 57, names=names)
    lines = error_of(read, tmp_path, decode=False).splitlines()
    assert lines[0].startswith("57 problems") and len(lines) == 22 and lines[-1] == "  and 37 more"


def test_images_are_decoded_only_when_asked(tmp_path):
    make_split(tmp_path, "1 2 3\n4 5 6\n7 8 9\n")
    (tmp_path / "train" / "img2.png").write_bytes(b"no image")
    (tmp_path / "train" / "img1.png").unlink()
    (tmp_path / "train" / "img1.png").symlink_to(tmp_path / "gone.png")
    assert len(read(tmp_path, decode=False)) == 3
    message = error_of(read, tmp_path)
    assert "img1.png: no such file" in message and "img2.png: not an image" in message


def test_an_empty_folder(tmp_path):
    (tmp_path / "train").mkdir()
    assert "train: no images; expected files ending in .bmp" in error_of(read, tmp_path)


def test_images_match_by_name(tmp_path):
    make_split(tmp_path, None)
    make_images(tmp_path / "jnd1train", "img2.bmp", "img10.png", "img1.jpg", "img3.png")
    matches = match_images(read(tmp_path, labels="optional"), tmp_path / "jnd1train")
    assert [path.name for path in matches] == ["img1.jpg", "img2.bmp", "img10.png"]


def test_unmatched_images_are_listed_together(tmp_path):
    make_split(tmp_path, None)
    split = read(tmp_path, labels="optional")
    assert "jnd1train: no such folder" in error_of(match_images, split, tmp_path / "jnd1train")
    make_images(tmp_path / "jnd1train", "img2.bmp", "img2.png", "img10.png")
    (tmp_path / "jnd1train" / "img10.png").write_bytes(b"no image")
    heading, *lines = error_of(match_images, split, tmp_path / "jnd1train").splitlines()
    assert heading == f"3 problems in {tmp_path}:"
    assert "no image for train/img1.png" in lines[0]
    assert "img2.bmp, img2.png all match img2.png" in lines[1]
    assert "jnd1train/img10.png: not an image" in lines[2]


def test_an_image_that_matches_two_is_refused(tmp_path):
    make_split(tmp_path, None, names=["a.png", "a.jpg"])
    make_images(tmp_path / "jnd1train", "a.png")
    assert "a.png: same name as a.jpg" in error_of(
        match_images, read(tmp_path, labels="optional"), tmp_path / "jnd1train"
    )


def test_written_levels_are_read_back_and_plain(tmp_path):
    names = ["img10.png", "img1.png", "img2.png"]
    make_images(tmp_path / "train", *names)
    write_labels(tmp_path / "train", names, np.array([PLAIN[2], PLAIN[0], PLAIN[1]], np.float32))
    assert read(tmp_path).labels.tolist() == PLAIN
    assert np.loadtxt(tmp_path / "train" / "JND-Levels.txt").tolist() == PLAIN
    assert len(list((tmp_path / "train").iterdir())) == 4
    assert [path.name for path in list_images(tmp_path / "train")] == ["img1.png", "img2.png", "img10.png"]


def test_a_header_may_name_jnd1_alone(tmp_path):
    make_split(tmp_path, "name,JND1\nimg2.png,30\nimg1.png,20\nimg10.png,31.5\n")
    split = read(tmp_path)
    assert split.labels[:, 0].tolist() == [20, 30, 31.5] and split.levels == ("JND1",)
    (tmp_path / "train" / "JND-Levels.txt").write_text("name,JND1\nimg1.png,20\nimg2.png,\nimg10.png,31\n")
    assert "txt:3: 0 numbers where one is due; expected name, JND1, QP 0 to 51" in error_of(read, tmp_path)
