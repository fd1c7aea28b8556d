"""Clips that play, but are odd, are predicted and encoded with each frame and sound in its place (see odd_clips.py)."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import pandas as pd
import pytest
import small
from av.error import InvalidDataError
from odd_clips import CLIPS, X264, check, make

from common.core.errors import UserError
from common.encoding.sources import Source

HANDFUL = ("clip #1.mp4", "raw in.mp4", "joined.ts", "flash of two.mp4", "windows.wmv", "cut off.mkv")


@pytest.mark.parametrize("odd", [pytest.param(odd, id=odd.name[:30]) for odd in CLIPS])
def test_an_odd_clip(tmp_path, odd):
    check(odd, tmp_path)


def test_damage_among_the_packets_is_said_in_a_line():
    """It must not end a run over many clips, as a byte that was wrong in an FLV did."""

    def demux(*streams):
        yield "packet"
        raise InvalidDataError(0, "Invalid data found when processing input")

    source = Source.__new__(Source)
    source.path, source.file = Path("x.flv"), SimpleNamespace(demux=demux)
    with pytest.raises(UserError, match=r"^x\.flv: damaged \(Invalid data found .*\); copy the clip again$"):
        list(source.demux())


def test_teletext_keeps_its_time(tmp_path):
    """FFmpeg would take the clock of the file instead, where the two are further apart than is usual."""
    path = tmp_path / "text.ts"
    with Source(make(tmp_path / "plain.ts", X264)) as plain, av.open(path, "w") as output:
        video = output.add_stream_from_template(plain.video)
        text = output.add_mux_stream("dvb_teletext", time_base=Fraction(1, 90_000))
        for number, (packet, _) in enumerate(plain.packets()):
            packet.stream = video
            output.mux_one(packet)
            if not number:
                line = av.Packet(b"\x10\x02\x2c" + bytes(44))
                line.pts = line.dts = due = packet.pts + 90_000
                line.time_base, line.stream = Fraction(1, 90_000), text
                output.mux_one(line)
    with Source(path) as source:
        assert [packet.pts for packet, _ in source.packets() if packet.stream_index == 1] == [due]


def test_a_handful_through_the_command(tmp_path, small_weights, capsys):
    """The network does not matter."""
    odd = {clip.name: clip for clip in CLIPS if clip.name in HANDFUL}
    (tmp_path / "in").mkdir()
    for name, clip in odd.items():
        clip.make(tmp_path / "in" / name)
    out = tmp_path / "out"
    flags = ("--frames", "first", "--encode", out, "--model_weights_path", small_weights)
    code = small.call("predict", *(tmp_path / "in" / name for name in HANDFUL), *flags)
    said = capsys.readouterr().err
    converted = "windows.wmv: audio stream 1 (wmav2) is converted to FLAC, since it cannot be copied into .mkv"
    assert code == 1 and converted in said
    assert "cut off.mkv: it is cut short; copy the clip again" in said and said.count("error: ") == 1
    report = pd.read_csv(out / "report.csv")
    assert [path.rsplit("/", 1)[1] for path in report["path"]] == list(HANDFUL[:-1])
    assert list(report["frames"]) == [len(odd[name].times) for name in HANDFUL[:-1]]
    assert (report["vmaf"] > 80).all()
    assert sorted(file.name for file in out.iterdir()) == [
        "clip #1.mp4",
        "flash of two.mp4",
        "joined.ts",
        "raw in.mp4",
        "report.csv",
        "windows.mkv",
    ]
