"""The end of the demonstration: a table, and a page that is named and opens where a person sees it."""

import sys
import webbrowser

import pandas as pd
import pytest

from common import demo


@pytest.fixture
def finished(rootdir, tmp_path, monkeypatch):
    """The folder of a demonstration whose steps are complete, on a desktop."""
    names = ["img1.png", "img2.png", "img3.png"]
    (tmp_path / "rootdir").symlink_to(rootdir)
    rows = [*(f"train,{number}.png,coffee,24" for number in range(3)), *(f"test,{name},{name},22" for name in names)]
    (tmp_path / "manifest.csv").write_text("\n".join(["split,image,photograph,JND1", *rows]))
    monkeypatch.setattr(demo, "STEPS", [("", "manifest.csv"), *demo.STEPS[1:]])
    monkeypatch.setattr(demo, "run_steps", lambda folder: None)
    (tmp_path / "results").mkdir()
    table = pd.DataFrame({"image": names, "JND1": [22.5, 23.5, 21], "JND1_label": [22, 23, 24]})
    table.to_csv(tmp_path / "results" / "JND1test_results.csv", index=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("CI", "SSH_CONNECTION", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    return tmp_path


@pytest.mark.parametrize("without", [None, "CI", "desktop", "terminal"])
def test_the_demo_ends_with_its_page(without, finished, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: without != "terminal", raising=False)
    if without == "CI":
        monkeypatch.setenv("CI", "true")
    if without == "desktop":
        monkeypatch.delenv("DISPLAY")
    assert demo.main(["--folder", str(finished)]) == 0
    page = finished / "evaluation" / "index.html"
    assert capsys.readouterr().out.rstrip().endswith(f"coded version: {page}")
    assert opened == ([] if without else [page.as_uri()])


def test_two_photographs_give_no_interval(finished, capsys):
    file = finished / "results" / "JND1test_results.csv"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    demo.show(finished)
    assert "Whether it has learned, so few photographs do not show." in capsys.readouterr().out


def test_the_last_step_writes_the_page():
    command, file = demo.STEPS[-1]
    assert command.startswith("-m common.evaluate ") and command.endswith(" --output {folder}/evaluation")
    assert file.startswith("evaluation/")
