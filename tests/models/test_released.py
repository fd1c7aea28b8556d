"""Released weights: the registry, what a file is, what is there."""

import re
import shutil

import numpy as np
import pytest

from common import weights
from common.core.environment import PRETRAINED, PROJECT
from common.core.errors import UserError
from common.models import released
from common.models.autoencoder import autoencoder_spec
from common.models.registry import get_model
from common.models.released import ICIP_2023, RELEASED, TCSVT_2024

LAYOUT = {  # of tests/golden/layouts.json
    released.AUTOENCODER: "Reconstruction",
    released.LAT: "LAT",
    released.REC: "REC",
    released.E2E_LAT: "E2ELAT",
    released.E2E_REC: "E2EREC",
    released.MJ_LAT: "MJLAT",
    released.MJ_REC: "MJREC",
    released.THREE_HEADS: "MT_3LJND",
    released.ONE_HEAD: "MT_1LJND_VA",
}


def spec_of(entry):
    return autoencoder_spec(entry.level or "Img") if entry.model == "autoencoder" else get_model(entry.model)


# --- the registry ---


def test_the_registry_is_what_the_released_programs_read(golden):
    assert set(LAYOUT) == set(released.NETWORKS) == {entry.network for entry in RELEASED}
    assert set(LAYOUT.values()) == set(golden.layouts)
    for network, name in LAYOUT.items():
        layout = golden.layouts[name]
        shapes = [(layer, [tuple(shape) for _, shape in entries]) for layer, entries in layout["layers"] if entries]
        assert network.fingerprint == released.fingerprint(shapes), name
        assert network.parameters == layout["parameters"] == sum(np.prod(s) for _, some in shapes for s in some), name
    assert len(RELEASED) == 23 and len({(entry.model, entry.level) for entry in RELEASED}) == 23
    names = [entry.name for entry in RELEASED if entry.name]
    assert len(set(names)) == len(names) == 21
    for entry in RELEASED:
        assert list(spec_of(entry).input.shape) == golden.layouts[LAYOUT[entry.network]]["input"]
        assert entry.archive is (ICIP_2023 if entry.model.startswith("MT_") else TCSVT_2024)
        assert entry.name is None or entry.level is None or entry.level in entry.name


def test_the_page_for_people_names_every_file():
    page = (PRETRAINED / "README.md").read_text()
    for entry in RELEASED:
        row = next(line for line in page.splitlines() if re.match(rf"\|[^|]+\| {entry.model}\b", line))
        assert f"`{entry.name}`" in row if entry.name else "name not known" in row
        assert f"{entry.network.parameters:,}" in row and spec_of(entry).script.removeprefix(f"{PROJECT}/") in row
        assert str(entry.archive.record) in page.split(f"- {row.split('|')[-2].strip()}: ")[1].splitlines()[0]
    for archive in released.ARCHIVES:
        assert archive.name in page and archive.page in page


# --- what a file is ---


def verify(path, capsys):
    code = weights.main(["verify", str(path)])
    return code, capsys.readouterr().out.splitlines()


def test_real_files_are_recognised(weight_files, tmp_path, capsys):
    code, lines = verify(weight_files / "LATJND1.h5", capsys)
    assert (code, lines) == (0, ["LATJND1.h5: LAT, 9,783,225 parameters"])
    shutil.copy(weight_files / "JND1Reconstruction.h5", tmp_path / "new.h5")
    assert verify(tmp_path, capsys) == (0, ["new.h5: autoencoder, 2,887,363 parameters"])


def test_every_network_is_told_from_the_others(golden, tmp_path, capsys):
    for name, layout in golden.layouts.items():
        golden.write_hollow(layout["layers"], tmp_path / f"{name}.h5")
    code, lines = verify(tmp_path, capsys)
    assert code == 0
    assert lines == [
        "E2ELAT.h5: E2E-LAT, 11,226,812 parameters",
        "E2EREC.h5: E2E-REC, 8,078,384 parameters",
        "LAT.h5: LAT, 9,783,225 parameters",
        "MJLAT.h5: MJ-LAT, 26,070,091 parameters",
        "MJREC.h5: MJ-REC, 13,886,928 parameters",
        "MT_1LJND_VA.h5: MT_1LJND_VA, 30,476,609 parameters",
        "MT_3LJND.h5: MT_3LJND or MT_3LJND_VA, 62,000,451 parameters",
        "REC.h5: REC, 8,078,384 parameters",
        "Reconstruction.h5: autoencoder, 2,887,363 parameters",
    ]


def test_files_that_are_wrong_are_named_one_by_one(golden, weight_files, tmp_path, capsys):
    real = (weight_files / "JND1Reconstruction.h5").read_bytes()
    (tmp_path / "a-cut.h5").write_bytes(real[: len(real) // 2])
    (tmp_path / "b-page.h5").write_bytes(b"<html>429</html>")
    golden.write_hollow(golden.layouts["LAT"]["layers"][:-1], tmp_path / "c-other.h5")
    golden.write_hollow(golden.layouts["REC"]["layers"], tmp_path / "sub" / "E2ERECJND2.h5")
    golden.write_hollow(golden.layouts["LAT"]["layers"], tmp_path / "sub" / "LATJND3.h5")
    (tmp_path / ".part-1.h5").touch()
    code, lines = verify(tmp_path, capsys)
    assert code == 1 and len(lines) == 5
    assert lines[0].startswith("a-cut.h5: damaged or cut off")
    assert lines[1].startswith("b-page.h5: not an HDF5 file (16 bytes)")
    assert lines[2] == "c-other.h5: 23 layers with weights, the shapes are those of no released model"
    assert lines[3].startswith("sub/E2ERECJND2.h5: REC, 8,078,384 parameters, but its name is that of E2E-REC's file")
    assert lines[4] == "sub/LATJND3.h5: LAT, 9,783,225 parameters"
    assert verify(tmp_path / "a-cut.h5", capsys)[0] == 1


def test_nothing_to_verify_is_an_error(tmp_path, capsys):
    for path, reason in ((tmp_path, "no .h5 file in or below"), (tmp_path / "nowhere", "no such file or folder")):
        with pytest.raises(UserError, match=f"^{path}: {reason}"):
            verify(path, capsys)


def test_the_command_line(run, weight_files):
    checked = run("-m", "common.weights", "verify", weight_files)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "LATJND1.h5: LAT, 9,783,225 parameters\n" in checked.stdout


def test_list_says_what_is_there_and_what_is_missing(golden, tmp_path, capsys):
    golden.write_hollow(golden.layouts["LAT"]["layers"], tmp_path / "deep" / "LATJND2.h5")
    golden.write_hollow(golden.layouts["MT_3LJND"]["layers"], tmp_path / "best.h5")
    golden.write_hollow(golden.layouts["REC"]["layers"], tmp_path / "mine.h5")
    (tmp_path / "MJREC.h5").touch()
    assert weights.main(["list", "--folder", str(tmp_path)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == f"{tmp_path}: 3 of 23 released files"  # best.h5 counts as both that it may be
    rows = [" ".join(line.split()) for line in lines]
    assert "LAT JND1 LATJND1.h5 missing" in rows
    assert "LAT JND2 LATJND2.h5 deep/LATJND2.h5" in rows
    assert "MJ-REC MJREC.h5 does not fit, see below" in rows
    assert "MT_3LJND_VA (name not known) best.h5 (MT_3LJND or MT_3LJND_VA: their shapes are the same)" in rows
    assert sum(row.endswith("missing") for row in rows) == 19
    assert any(row.startswith("also here: MJREC.h5: not an HDF5 file") for row in rows)
    assert "also here: mine.h5: REC, 8,078,384 parameters" in rows
    assert not any(row.startswith("also here: best.h5") for row in rows)
    assert all(archive.page in rows[-1] for archive in released.ARCHIVES)
    for wrong, found in (("nowhere", "no such folder"), ("best.h5", "a file")):
        with pytest.raises(UserError, match=f"{wrong}: {found}; expected the folder that holds the weight files"):
            weights.main(["list", "--folder", str(tmp_path / wrong)])
