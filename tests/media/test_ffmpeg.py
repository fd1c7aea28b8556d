import re
import subprocess
import sys
import threading

import ffmpeg as graphs
import numpy as np
import pytest
from h264_stream import encode_h264, frame_qps
from skimage import data

from common.core.errors import UserError
from common.media import ffmpeg, ffmpeg_process
from common.media.ffmpeg_process import find_ffmpeg

CAT = data.chelsea()[:180, :320]


@pytest.fixture(scope="module")
def clip():
    """Nine frames of 320x180: a window that moves over a photograph."""
    coffee = data.coffee()
    return np.stack([coffee[20 + 2 * i : 200 + 2 * i, 30 + 5 * i : 350 + 5 * i] for i in range(9)])


def options(bitstream):
    """x264's options as it wrote them into the stream, without those that say nothing of the images."""
    text = re.search(rb"options: ([^\0]*?)[\0\x80]", bitstream)[1].decode()
    return re.sub(r"(?<= )(lookahead_)?threads=\d+ ", "", text)


def test_options_are_videosets():
    # Copied from a bitstream of VideoSet (videoSRC005, 640x360, QP 28).
    assert options(ffmpeg.encode_intra(CAT, 28).bitstream) == (
        "cabac=1 ref=3 deblock=1:0:0 analyse=0x3:0x111 me=umh subme=9 psy=0 mixed_ref=1 me_range=128 chroma_me=1 "
        "trellis=2 8x8dct=1 cqm=0 deadzone=21,11 fast_pskip=0 chroma_qp_offset=0 sliced_threads=0 nr=0 decimate=1 "
        "interlaced=0 bluray_compat=0 constrained_intra=0 bframes=3 b_pyramid=2 b_adapt=2 b_bias=0 direct=3 weightb=1 "
        "open_gop=0 weightp=2 keyint=60 keyint_min=31 scenecut=0 intra_refresh=0 rc=cqp mbtree=0 qp=28 ip_ratio=1.00 "
        "pb_ratio=1.00 aq=0"
    )


@pytest.mark.parametrize("qp", [1, 28, 51])
def test_an_intra_frame_gets_its_qp(tmp_path, qp):
    coded = ffmpeg.encode_intra(CAT, qp)
    (tmp_path / "a.264").write_bytes(coded.bitstream)
    assert frame_qps(tmp_path / "a.264") == [("I", qp)]
    assert coded.bitstream[coded.bitstream.index(b"\0\0\1\x67") + 4] == 100  # profile_idc: High


def test_plain_qp_would_code_the_intra_frame_three_qp_finer(tmp_path, clip):
    source = graphs.input("pipe:", format="rawvideo", pixel_format="rgb24", s="320x180")
    source.output(str(tmp_path / "plain.264"), vcodec="libx264", pix_fmt="yuv420p", qp=28).run(
        cmd=find_ffmpeg(), input=clip.tobytes(), quiet=True
    )
    qps = frame_qps(tmp_path / "plain.264")
    assert qps[0] == ("I", 25) and ("P", 28) in qps
    assert {qp for kind, qp in qps if kind == "B"} and all(qp > 28 for kind, qp in qps if kind == "B")


@pytest.mark.parametrize("suffix", [".264", ".mp4"])
def test_every_frame_of_a_clip_gets_the_qp(tmp_path, clip, suffix):
    target = tmp_path / f"clip{suffix}"
    encode_h264(clip, target, 31, rate=24)
    qps = frame_qps(target)
    assert {kind for kind, _ in qps} == set("IPB") and {qp for _, qp in qps} == {31} and len(qps) == len(clip)
    frames = list(ffmpeg.decode_frames(target))
    assert len(frames) == len(clip)
    for frame, true in zip(frames, clip, strict=True):  # in the order shown, although coded in another
        assert np.abs(frame.astype(int) - true).mean() < 8


def test_a_bad_qp_is_refused(tmp_path):
    for qp in (-1, 52, 28.5, True, "28"):
        with pytest.raises(UserError, match="from 0 to 51"):
            encode_h264(CAT, tmp_path / "a.264", qp)
    assert not list(tmp_path.iterdir())
    assert ffmpeg.encode_intra(CAT, np.int64(30)).bitstream == ffmpeg.encode_intra(CAT, 30).bitstream


def test_colours_survive_both_ways():
    """Flat patches come back within the rounding of limited range; a wrong matrix or range is off by 10 and more."""
    for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [200, 120, 40]):
        image = np.full((32, 48, 3), colour, np.uint8)
        assert np.abs(ffmpeg.encode_intra(image, 0).pixels.astype(int) - image).max() <= 3


def test_luma_is_bt601_limited(tmp_path):
    encode_h264(np.full((32, 48, 3), [255, 0, 0], np.uint8), tmp_path / "red.264", 0)
    raw, _ = (
        graphs.input(str(tmp_path / "red.264"))
        .output("pipe:", format="rawvideo", pix_fmt="yuv420p")
        .run(cmd=find_ffmpeg(), quiet=True)
    )
    assert abs(raw[0] - 81) <= 1  # BT.709 has 63, full range 76


def test_untagged_clips_are_bt601(tmp_path, clip):
    encode_h264(clip, tmp_path / "tagged.264", 30)
    untag = "h264_metadata=video_full_range_flag=0:colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2"
    graphs.input(str(tmp_path / "tagged.264")).output(
        str(tmp_path / "plain.264"), vcodec="copy", **{"bsf:v": untag}
    ).run(cmd=find_ffmpeg(), quiet=True)
    assert (tmp_path / "plain.264").read_bytes() != (tmp_path / "tagged.264").read_bytes()
    for name in ("plain", "tagged"):
        frame = next(ffmpeg.decode_frames(tmp_path / f"{name}.264"))
        assert abs(frame.mean(axis=(0, 1)) - clip[0].mean(axis=(0, 1))).max() < 1


@pytest.mark.parametrize("shape", [(179, 321), (180, 321), (179, 320), (1, 1)])
def test_odd_sizes(tmp_path, shape):
    image = data.chelsea()[: shape[0], : shape[1]]
    coded = ffmpeg.encode_intra(image, 10)
    assert coded.pixels.shape == image.shape and np.abs(coded.pixels.astype(int) - image).mean() < 4
    ffmpeg.encode_frame(image, tmp_path / "odd.264", 10, ffmpeg.x264_output)
    [frame] = ffmpeg.decode_frames(tmp_path / "odd.264", shape)
    assert np.array_equal(frame, coded.pixels)


def test_a_clip_is_coded_from_its_own_samples(tmp_path, clip):
    """Coded losslessly, a clip decodes to the very same frames: nothing on the way converts it."""
    encode_h264(clip, tmp_path / "a.264", 30)
    encode_h264(tmp_path / "a.264", tmp_path / "b.mp4", 0)
    for a, b in zip(ffmpeg.decode_frames(tmp_path / "a.264"), ffmpeg.decode_frames(tmp_path / "b.mp4"), strict=True):
        assert np.array_equal(a, b)


def test_a_clip_of_odd_size(tmp_path, clip):
    source = graphs.input("pipe:", format="rawvideo", pixel_format="rgb24", s="320x180").filter("crop", 319, 177)
    source.output(str(tmp_path / "odd.mkv"), vcodec="ffv1", pix_fmt="yuv444p").run(
        cmd=find_ffmpeg(), input=clip.tobytes(), quiet=True
    )
    encode_h264(tmp_path / "odd.mkv", tmp_path / "odd.264", 5)
    frame = next(ffmpeg.decode_frames(tmp_path / "odd.264"))
    assert frame.shape == (178, 320, 3)
    # The padding repeats the edge; black padding would be far darker.
    assert abs(frame[-1].mean() - frame[-2].mean()) < 5 and abs(frame[:, -1].mean() - frame[:, -2].mean()) < 5


@pytest.mark.parametrize(
    "name", ["with space.264", "%03d.264", "-y.264", "http:x.264", "Café 日本:x.mp4", "a'b;[c],d=e.264"]
)
def test_any_name_will_do(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    encode_h264(CAT, name, 33)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert frame_qps(name) == [("I", 33)] and len(list(ffmpeg.decode_frames(name))) == 1


def test_vmaf(monkeypatch):
    coded = [ffmpeg.encode_intra(CAT, qp, with_vmaf=True) for qp in (15, 30, 45)]
    assert 100 >= coded[0].vmaf > coded[1].vmaf > coded[2].vmaf >= 0
    assert coded[1].vmaf == pytest.approx(ffmpeg.vmaf(CAT, coded[1].pixels), abs=0.5)
    assert ffmpeg.vmaf(CAT, CAT) > ffmpeg.vmaf(CAT, coded[0].pixels)
    assert np.array_equal(coded[1].pixels, ffmpeg.encode_intra(CAT, 30).pixels)
    with pytest.raises(UserError, match="at least 17x17"):  # libvmaf itself crashes
        ffmpeg.vmaf(CAT[:16, :16], CAT[:16, :16])


def test_damaged_clips_are_refused(tmp_path, clip):
    encode_h264(clip, tmp_path / "whole.264", 20)
    whole = (tmp_path / "whole.264").read_bytes()
    (tmp_path / "text.264").write_text("this is no clip\n" * 100)
    (tmp_path / "cut.264").write_bytes(whole[: len(whole) // 3])
    for name in ("text.264", "cut.264"):
        with pytest.raises(UserError, match=name):
            list(ffmpeg.decode_frames(tmp_path / name))
        with pytest.raises(UserError, match=name):
            encode_h264(tmp_path / name, tmp_path / "out.264", 30)
    with pytest.raises(UserError, match="no such file"):
        list(ffmpeg.decode_frames(tmp_path / "none.264"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cut.264", "text.264", "whole.264"]


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile a.264\n", "#EXTM3U\n#EXTINF:1,\na.264\n"])
def test_a_playlist_makes_nobody_read_another_file(tmp_path, clip, text):
    encode_h264(clip, tmp_path / "a.264", 40)
    (tmp_path / "x.mp4").write_text(text)
    with pytest.raises(UserError, match="x.mp4: text, as of a playlist; expected a clip"):
        next(ffmpeg.decode_frames(tmp_path / "x.mp4"))


def test_a_clip_without_a_frame_says_so(tmp_path):
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F25:1 C420\n")
    with pytest.raises(UserError, match="a.y4m: it shows no frame; expected a clip"):
        list(ffmpeg.decode_frames(tmp_path / "a.y4m"))


def test_a_reader_that_stops_early_leaves_no_process(tmp_path, clip, monkeypatch):
    started = []
    encode_h264(clip, tmp_path / "a.264", 40)
    monkeypatch.setattr(ffmpeg_process, "start", lambda *a, **k: started.append(START(*a, **k)) or started[-1])
    frames = ffmpeg.decode_frames(tmp_path / "a.264")
    next(frames)
    frames.close()
    assert [process.poll() is not None for process in started] == [True]
    threads, begin = [], threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda self: threads.append(self) or begin(self))
    assert len(list(ffmpeg.decode_frames(tmp_path / "a.264"))) == 9 and len(threads) == 1  # one watches all frames


START = ffmpeg_process.start


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """fake(script): let $FFMPEG be that shell script."""

    def install(script):
        path = tmp_path / "fake-ffmpeg"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("FFMPEG", str(path))

    return install


@pytest.mark.parametrize(
    "script, said",
    [
        ("echo '[error] the sky fell' >&2; exit 7", r"[:] the sky fell; check the file.* failed \(exit code 7\)"),
        (
            "head -c 1000 >/dev/null; echo '[error] half way' >&2; kill -9 $$",
            r"half way; is memory short.*killed by SIGKILL",
        ),
        ("kill -11 $$", "ffmpeg said nothing; .*killed by SIGSEGV"),
        ("echo \"[error] Unknown encoder 'libx264'\" >&2; exit 8", "without libx264, imageio-ffmpeg's has it"),
        ("echo \"[AVFilterGraph @ 0x1] [error] No such filter: 'libvmaf'\" >&2; exit 8", "without libvmaf, imageio"),
        ("echo \"[fatal] Unrecognized option 'fps_mode'.\" >&2; exit 1", "5.1 or newer"),
        ("cat >/dev/null", "bytes of pixels|wrote nothing|no frame|no score"),  # ends well, but is no ffmpeg
    ],
)
def test_a_broken_ffmpeg(tmp_path, fake, clip, script, said):
    encode_h264(clip, tmp_path / "a.264", 40)
    fake(script)
    for call in (
        lambda: encode_h264(clip, tmp_path / "b.264", 30),
        lambda: ffmpeg.encode_frame(CAT, tmp_path / "b.264", 30, ffmpeg.x264_output),
        lambda: ffmpeg.encode_intra(CAT, 30),
        lambda: list(ffmpeg.decode_frames(tmp_path / "a.264")),
        lambda: ffmpeg.vmaf(CAT, CAT),
    ):
        with pytest.raises(UserError, match=said) as error:
            call()
        assert "\n" not in str(error.value) and "fake-ffmpeg" in str(error.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.264", "fake-ffmpeg"]


def test_ffmpeg_that_dies_while_frames_are_read(tmp_path, fake, clip):
    encode_h264(clip, tmp_path / "a.264", 40)
    fake("printf 'P6\\n2 1\\n255\\nabcdefP6\\n2 1\\n255\\nab'; kill -9 $$")
    frames = ffmpeg.decode_frames(tmp_path / "a.264")
    assert next(frames).tobytes() == b"abcdef"
    with pytest.raises(UserError, match="SIGKILL"):
        next(frames)


def test_ffmpeg_that_hangs(tmp_path, fake, clip, monkeypatch):
    encode_h264(clip, tmp_path / "a.264", 40)
    waited = tmp_path / "waited"
    fake(f"exec '{sys.executable}' -c 'import time; time.sleep(30); open(\"{waited}\", \"w\")'")
    monkeypatch.setattr(ffmpeg, "CLIP_TIMEOUT", 0.3)
    monkeypatch.setattr(ffmpeg, "TIMEOUT", 0.3)
    with pytest.raises(UserError, match="did not end within 0.3 s"):
        encode_h264(clip, tmp_path / "b.264", 30)
    with pytest.raises(UserError, match="no frame for 0.3 s"):
        list(ffmpeg.decode_frames(tmp_path / "a.264"))
    assert not waited.exists()  # it was ended, not waited for


def test_ffmpeg_that_cannot_be_found_or_run(tmp_path, monkeypatch):
    monkeypatch.setenv("FFMPEG", str(tmp_path / "none"))
    with pytest.raises(UserError, match="no program that can be run"):
        ffmpeg.encode_intra(CAT, 30)
    (tmp_path / "garbage").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "garbage").chmod(0o755)
    monkeypatch.setenv("FFMPEG", str(tmp_path / "garbage"))
    with pytest.raises(UserError, match="cannot be run"):
        ffmpeg.encode_intra(CAT, 30)
    import imageio_ffmpeg

    def nothing():
        raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.delenv("FFMPEG")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert subprocess.run([find_ffmpeg(), "-version"], capture_output=True).returncode == 0  # imageio-ffmpeg's
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", nothing)
    with pytest.raises(UserError, match="pip install imageio-ffmpeg"):
        find_ffmpeg()


def test_seams_are_of_a_file_and_not_of_its_name(tmp_path, monkeypatch):
    """A damaged clip that replaces a joined one must not be read as one."""
    path = tmp_path / "x.ts"
    path.write_bytes(b"x")
    for seams in (True, False):
        monkeypatch.setattr(ffmpeg, "_has_seams", lambda path, modified, seams=seams: seams)
        ffmpeg.clip_input(path)
        assert (str(path) in ffmpeg_process.SEAMED) == seams
