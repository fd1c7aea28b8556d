# ruff: noqa: E501  one clip a line
"""Clips that play, but are odd: each is made here, with what must be true of it, and encoded.

    PYTHONPATH=. python3 tests/encoding/odd_clips.py FOLDER    # makes them all, encodes them, and prints a table

Each frame shows its own number, as black and white squares above six patches of colour, so that a missing, repeated or
displaced frame and a shifted colour are seen in the encoded clip itself.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from common.core.errors import UserError
from common.encoding.encode import encode_clip
from common.encoding.scenes import analyse_clip
from common.encoding.targets import target_of
from common.media.clips import extract_frames
from common.media.ffmpeg import decode_frames
from common.media.ffmpeg_process import find_ffmpeg

RATE, COUNT = 25, 14
PATCHES = np.uint8([[200, 60, 60], [60, 180, 60], [60, 60, 200], [230, 200, 170], [128, 128, 128], [40, 40, 40]])
X264 = "-c:v libx264 -preset veryfast -qp 6 -pix_fmt yuv420p"


def numbered(count: int = COUNT, width: int = 96, height: int = 64, first: int = 0) -> np.ndarray:
    """Frames uint8 (count, height, width, 3): 6 squares with the bits of the number, below them the patches."""
    frames = np.zeros((count, height, width, 3), np.uint8)
    step = width // 6
    for index in range(count):
        for place in range(6):
            across = slice(place * step, (place + 1) * step)
            frames[index, : height // 2, across] = 235 if (index + first) >> place & 1 else 20
            frames[index, height // 2 :, across] = PATCHES[place]
    return frames


def read_number(frame: np.ndarray) -> int:
    """Return the number that a frame of `numbered` shows."""
    height, step = frame.shape[0], frame.shape[1] // 6
    bits = [
        frame[height // 8 : height * 3 // 8, p * step + step // 4 : p * step + step * 3 // 4].mean() for p in range(6)
    ]
    return sum((bit > 128) << place for place, bit in enumerate(bits))


def read_patches(frame: np.ndarray) -> np.ndarray:
    """Return the mean colours of the patches of a frame, (6, 3)."""
    height, step = frame.shape[0], frame.shape[1] // 6
    rows = slice(height * 5 // 8, height * 7 // 8)
    return np.array([frame[rows, p * step + step // 4 : p * step + step * 3 // 4].mean((0, 1)) for p in range(6)])


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> tuple[str, str]:
    """Run ffmpeg; returns its log and its standard output."""
    words = [word for part in arguments for word in ([str(part)] if isinstance(part, Path) else part.split())]
    command = [find_ffmpeg(), "-hide_banner", "-y", *words]
    result = subprocess.run(command, input=data, capture_output=True)
    assert result.returncode == 0, f"{command}: {result.stderr.decode(errors='replace')[-800:]}"
    return result.stderr.decode(errors="replace"), result.stdout.decode(errors="replace")


def make(
    path: Path, options: str, frames: np.ndarray | None = None, sound: str = "", before: str = "", rate=RATE
) -> Path:
    """Write frames, and a tone where `sound` says how, as a clip."""
    frames = numbered() if frames is None else frames
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    tone = f"-f lavfi -t {len(frames) / float(Fraction(rate))} -i sine=frequency=500:sample_rate=48000" if sound else ""
    video = f"{before} -f rawvideo -pix_fmt rgb24 -s {size} -r {rate} -i -"
    ffmpeg(video, tone, "-map 0:v" + " -map 1:a" * bool(sound), options, sound, path, data=frames.tobytes())
    return path


def even(count: int = COUNT, start: float = 0.0, rate: float = RATE) -> list[float]:
    return [start + index / rate for index in range(count)]


@dataclass
class Odd:
    """An odd clip.

    Attributes:
        name: Of its file.
        make: make(path) writes it.
        times: Of its frames in seconds, the first at 0; the frames show 0, 1, 2, ... unless `numbers` says others.
        suffix: Of the encoded clip; the same by default.
        refused: A pattern of the error, where it must not be encoded.
        turned: It is shown turned, or is too small or odd for the patches: neither numbers nor colours are read.
        streams: How many streams the encoded clip has.
        end: When the last frame is gone, in seconds.
        codec: Of the encoded clip.
        warning: A pattern of the warning.
        tolerance: Of the mean colour of a patch, in steps of 255.
    """

    name: str
    make: Callable[[Path], object]
    times: Sequence[float] = tuple(even())
    numbers: Sequence[int] | None = None
    suffix: str | None = None
    refused: str = ""
    turned: bool = False
    streams: int = 1
    end: float | None = None
    codec: str = "h264"
    warning: str = ""
    tolerance: float = 2.5


AAC, MKV_SOUND = "-c:a aac -b:a 64k", "-c:a pcm_s16le"
ASCII = "".join(chr(code) for code in range(32, 127) if chr(code) != "/")
LOSSLESS = "-c:v ffv1 -pix_fmt"
MPEG2 = "-c:v mpeg2video -q:v 2 -bf 2 -pix_fmt yuv420p"


def plain(options: str = X264, sound: str = AAC, **settings) -> Callable[[Path], object]:
    return lambda path: make(path, options, sound=sound, **settings)


def scratch(path: Path, suffix: str) -> Path:
    """A file beside a clip from which it is made."""
    folder = path.parent / "parts"
    folder.mkdir(exist_ok=True)
    return folder / f"{abs(hash(path.name))}{suffix}"


def again(options: str, suffix: str = ".mp4", before: str = "", sound: str = AAC, first: str = X264, **settings):
    """A clip that is made and then copied with options."""

    def work(path: Path) -> None:
        part = make(scratch(path, suffix), first, sound=sound, **settings)
        ffmpeg(f"{before} -i", part, "-map 0 -c copy " + options, path)

    return work


def unheard_of(path: Path) -> None:
    """The second sound is of a codec that nothing decodes."""
    part = make(scratch(path, ".mov"), X264, sound=AAC)
    ffmpeg("-i", part, "-map 0:v -map 0:a -map 0:a -c copy", path)
    data = path.read_bytes()
    place = data.rindex(b"stsd") + 16
    assert data[place : place + 4] == b"mp4a"
    path.write_bytes(data[:place] + b"apac" + data[place + 4 :].replace(b"esds", b"free"))


def two_sizes(path: Path) -> None:
    sizes = [(96, 64), (192, 128)]
    parts = [make(scratch(path, f"{w}.ts"), X264, numbered(COUNT, w, h), sound=AAC) for w, h in sizes]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


def joined(path: Path) -> None:
    suffix, codec, sound = path.suffix, *((MPEG2, "-c:a mp2") if path.suffix == ".mpg" else (X264, AAC))
    parts = [make(scratch(path, f"{n}{suffix}"), codec, numbered(COUNT, first=COUNT * n), sound=sound) for n in (0, 1)]
    counters, whole = {}, bytearray(b"".join(part.read_bytes() for part in parts))
    smooth = path.name.startswith("smoothly")  # counters that jump are a seam, or damage
    for start in range(0, len(whole), 188) if smooth else ():
        pid = int.from_bytes(whole[start + 1 : start + 3], "big") & 0x1FFF
        counters[pid] = (counters.get(pid, -1) + (whole[start + 3] >> 4 & 1)) & 15
        whole[start + 3] = whole[start + 3] & 0xF0 | counters[pid]
    path.write_bytes(whole)


def flash(length: int) -> Callable[[Path], object]:
    def work(path: Path) -> None:
        frames = numbered()
        frames[6 : 6 + length, 32:] = 255 - frames[6 : 6 + length, 32:]
        frames[6 : 6 + length, :4] = 128
        make(path, X264, frames, sound=AAC)

    return work


def cut(path: Path, start: float = 0.0, end: float = 1.0) -> None:
    whole = make(scratch(path, path.suffix), X264 + " -g 5", sound=AAC).read_bytes()
    step = 188 if path.suffix == ".ts" else 1
    path.write_bytes(whole[int(start * len(whole)) // step * step : int(end * len(whole)) // step * step])


def held(path: Path, numbers: Sequence[int] = range(COUNT)) -> None:
    """The last frame is shown for a second."""
    part = make(scratch(path, ".mp4"), X264 + " -bf 0", numbered(16)[list(numbers)])
    last = f"if(eq(N,{len(numbers) - 1}),1/TB,DURATION)"
    ffmpeg("-i", part, f"-c copy -bsf:v setts=pts=PTS:dts=DTS:duration='{last}'", path)


def covered(path: Path) -> None:
    """A clip with a cover image."""
    part, image = make(scratch(path, ".mp4"), X264, sound=AAC), scratch(path, ".png")
    ffmpeg("-f lavfi -i color=red:s=32x32 -frames:v 1", image)
    if path.suffix == ".mkv":
        ffmpeg("-i", part, "-c copy -attach", image, "-metadata:s:t mimetype=image/png", path)
    else:
        ffmpeg("-i", part, "-i", image, "-map 0:v -map 0:a -map 1 -c copy -disposition:v:1 attached_pic", path)


def with_more(inputs: str, options: str, sound: str = AAC) -> Callable[[Path], object]:
    """A clip with further streams."""

    def work(path: Path) -> None:
        part, text = make(scratch(path, ".mp4"), X264, sound=sound), scratch(path, ".srt")
        text.write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n")
        meta = scratch(path, ".txt")
        meta.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=300\ntitle=One\n")
        words = {"SRT": ["-i", text], "META": ["-i", meta], "TEXT": ["-attach", text]}
        arguments = ["-i", part]
        for word in (inputs + " " + options).split():
            arguments += words.get(word, [word])
        ffmpeg(*arguments, path)

    return work


def vfr(path: Path) -> None:
    make(path, X264 + " -vf select=not(between(n\\,3\\,6)) -fps_mode vfr -enc_time_base 1/1000", sound=AAC)


STILL = [5] * 16  # so that a B-frame is the last that is coded
KEPT = [n for n in range(COUNT) if not 3 <= n <= 6]
TAGS = "-vf scale=out_color_matrix={m}:out_range={r}:flags=accurate_rnd+full_chroma_int,format={f} -colorspace {s} -color_primaries {p} -color_trc {t} -color_range {r}"


def tagged(matrix, space, primaries, curve, levels="tv", form="yuv420p", codec="-c:v libx264 -qp 6"):
    return codec + " " + TAGS.format(m=matrix, s=space, p=primaries, t=curve, r=levels, f=form)


# fmt: off
CLIPS = [
    Odd("plain.mp4", plain(), streams=2),
    Odd("hevc.mp4", plain(), streams=2, codec="hevc"),
    Odd("av1.mkv", plain(), streams=2, codec="av1"),
    Odd("clip #1.mp4", plain(), streams=2),
    Odd("Who? Me.mkv", plain(), streams=2),
    Odd(f"{ASCII}.mp4", plain(), streams=2),
    Odd("%03d.mkv", plain(), streams=2),
    Odd("raw.264", plain(X264 + " -bf 3 -f h264", sound=""), suffix=".mp4"),
    Odd("raw.265", plain("-c:v libx265 -x265-params log-level=none -crf 8 -pix_fmt yuv420p", sound=""), suffix=".mp4"),
    Odd("raw in.mp4", again("", ".264", sound="", first=X264 + " -bf 3"), even(COUNT - 2), [1, 2, *range(4, COUNT)]),
    Odd("varying.mkv", vfr, [n / RATE for n in KEPT], KEPT, streams=2),
    Odd("varying.mp4", vfr, [n / RATE for n in KEPT], KEPT, streams=2),
    Odd("varying hevc.mp4", vfr, [n / RATE for n in KEPT], KEPT, streams=2, codec="hevc"),
    Odd("edit list.mp4", again("", before="-ss 0.2", first=X264 + " -g 100"), even(COUNT - 5), range(5, COUNT), streams=2),
    Odd("late.mp4", again("", before="-itsoffset 0.5", sound=""), even()),
    Odd("late.ts", again("", before="-itsoffset 0.5"), streams=2),
    Odd("joined.ts", joined, even(2 * COUNT), streams=2, warning="1 packets of stream 1"),
    Odd("smoothly joined.ts", joined, even(2 * COUNT), streams=2),
    Odd("joined.mpg", joined, even(2 * COUNT), streams=2, suffix=".mp4"),
    Odd("joined of two sizes.ts", two_sizes, refused="after frame 0 its frames have another size"),
    Odd("flash of one.mp4", flash(1), streams=2),
    Odd("flash of two.mp4", flash(2), streams=2),
    Odd("flash of two.mkv", flash(2), streams=2, codec="hevc"),
    Odd("turned.mp4", again("", before="-display_rotation 90"), streams=2, turned=True),
    Odd("aslant.mp4", again("", before="-display_rotation 45"), refused="turned by an angle that is not a multiple of 90"),
    Odd("upside down.mov", again("", ".mov", before="-display_rotation 180"), streams=2, turned=True),
    Odd("10 bits.mkv", plain("-c:v libx264 -qp 6 -pix_fmt yuv420p10le"), streams=2, warning="10 bits"),
    Odd("prores.mov", plain("-c:v prores_ks -profile:v 3", sound="-c:a pcm_s24le"), streams=2, warning="10 bits"),
    Odd("interlaced.ts", plain("-c:v mpeg2video -q:v 2 -flags +ildct+ilme -pix_fmt yuv420p", sound="-c:a mp2"), streams=2),
    Odd("interlaced.mp4", plain(X264 + " -x264-params tff=1"), streams=2, warning="interlaced"),
    Odd("cover.mp4", covered, streams=3),
    Odd("cover.mkv", covered, streams=3),
    Odd("two sounds.mkv", with_more("SRT", "-map 0:v -map 0:a -map 0:a -map 1 -c copy"), streams=4),
    Odd("two videos.mp4", with_more("", "-map 0:v -map 0:v -map 0:a -c copy"), streams=3),
    Odd("text.mp4", with_more("SRT", "-map 0 -map 1 -c copy -c:s mov_text"), streams=3),
    Odd("chapters.mkv", with_more("META", "-map 0 -map_metadata 1 -c copy TEXT -metadata:s:t mimetype=text/plain"), streams=3),
    Odd("timecode.mov", again("-timecode 01:00:00:00", ".mov"), streams=3),
    Odd("first frames gone.ts", lambda path: cut(path, start=0.3), [], streams=2),
    Odd("last frames gone.ts", lambda path: cut(path, end=0.8), [], streams=2),
    Odd("cut off.mkv", lambda path: cut(path, end=0.6), refused="it is cut short; copy the clip again"),
    Odd("held.mp4", held, end=(COUNT - 1) / RATE + 1),
    Odd("held after frames alike.mp4", lambda path: held(path, STILL), even(16), STILL, end=15 / RATE + 1),
    Odd("longer sound.mp4", again("", sound=AAC + " -af apad=pad_dur=1"), streams=2),
    Odd("odd size.mkv", plain(LOSSLESS + " yuv444p", frames=numbered()[:, :63, :95]), streams=2, turned=True),
    Odd("bt709.mp4", plain(tagged("bt709", "bt709", "bt709", "bt709")), streams=2),
    Odd("bt601.mp4", plain(tagged("bt601", "bt470bg", "bt470bg", "gamma28")), streams=2),
    Odd("bt2020.mkv", plain(tagged("bt2020", "bt2020nc", "bt2020", "bt2020-10", form="yuv420p10le")), streams=2, warning="10 bits"),
    Odd("log curve.mp4", plain(tagged("bt709", "bt709", "film", "log100")), streams=2),
    Odd("full range.mp4", plain(tagged("bt709", "bt709", "bt709", "bt709", "pc")), streams=2),
    Odd("full range 444.mkv", plain(tagged("bt709", "bt709", "bt709", "bt709", "pc", "yuv444p")), streams=2),
    Odd("motion jpeg.avi", plain("-c:v mjpeg -q:v 2 -pix_fmt yuvj422p", sound=MKV_SOUND), streams=2, suffix=".mp4|.mkv"),
    Odd("rgb.mkv", plain("-c:v ffv1 -pix_fmt bgr0"), streams=2),
    Odd("rgb hd.mp4", plain("-c:v libx264rgb -qp 6", frames=numbered(3, 1290, 720)), even(3), streams=2),
    Odd("gray.mkv", plain(LOSSLESS + " gray"), streams=2, turned=True),
    Odd("alpha.mov", plain("-c:v qtrle -pix_fmt argb"), streams=2),
    Odd("nellymoser.flv", plain(sound="-c:a nellymoser -ar 22050 -ac 1"), streams=2),
    Odd("mpeg4.avi", plain("-c:v mpeg4 -q:v 2 -bf 2 -pix_fmt yuv420p", sound="-c:a libmp3lame"), streams=2, suffix=".mp4"),
    Odd("windows.wmv", plain("-c:v wmv2 -b:v 4M -pix_fmt yuv420p", sound="-c:a wmav2"), streams=2, suffix=".mkv", warning="converted to FLAC"),
    Odd("adpcm.avi", plain("-c:v mpeg4 -q:v 2 -pix_fmt yuv420p", sound="-c:a adpcm_ms"), streams=2, suffix=".mkv", warning="converted to FLAC"),
    Odd("theora.ogv", plain("-c:v libtheora -q:v 10 -pix_fmt yuv420p", sound="-c:a libvorbis"), streams=2, suffix=".mp4|.mkv"),
    Odd("vp9.webm", plain("-c:v libvpx-vp9 -lossless 1 -cpu-used 8 -pix_fmt yuv420p", sound="-c:a libopus"), streams=2, suffix=".mkv"),
    Odd("blu ray.m2ts", plain(X264 + " -mpegts_m2ts_mode 1", sound="-c:a pcm_bluray -ac 2"), streams=2),
    Odd("float sound.mov", plain(sound="-c:a pcm_f32be"), streams=2),
    Odd("adpcm.mov", plain(sound="-c:a adpcm_ima_qt"), streams=2),
    Odd("adpcm of windows.mov", plain(sound="-c:a adpcm_ms -ac 1"), streams=2, warning="adpcm_ms. is converted to AAC"),
    Odd("dvd sound.mpg", plain("-c:v mpeg2video -q:v 2 -pix_fmt yuv420p", sound="-c:a pcm_dvd -ac 2"), streams=2, suffix=".mkv", warning="converted to FLAC"),
    Odd("sound that nothing decodes.mov", unheard_of, streams=2, warning=r"audio stream 2 \(\w+\) is left out"),
    Odd("phone.3gp", plain(X264, sound="-c:a aac -ac 1"), streams=2),
    Odd("dvd.mpg", plain(MPEG2, sound="-c:a mp2"), streams=2, suffix=".mp4|.mkv"),
    Odd("raw.y4m", plain("-pix_fmt yuv420p", sound=""), suffix=".mp4"),
    Odd("vp8.ivf", plain("-c:v libvpx -qmin 1 -qmax 4 -b:v 8M -pix_fmt yuv420p", sound=""), suffix=".mp4"),
    Odd("one frame.mp4", plain(frames=numbered(1), sound=""), even(1)),
    Odd("wide pixels.mp4", plain(X264 + " -vf setsar=4/3"), streams=2),
    Odd("film rate.mkv", plain(rate="24000/1001"), even(rate=24000 / 1001), streams=2),
    Odd("120 a second.mp4", plain(rate="120"), even(rate=120), streams=2),
    Odd("fragments.mp4", plain(X264 + " -movflags frag_keyframe+empty_moov -g 5"), streams=2),
]
# fmt: on


def frame_times(path: Path) -> tuple[list[float], float | None, int, float]:
    """(times of the frames, time of the first sound or None, number of streams, length of the file) by ffmpeg itself."""
    outputs = "-map 0:V:0 -vf showinfo=checksum=0 -fps_mode passthrough -f null - -map 0:a:0? -frames:a 1 -f framecrc -"
    log, sounds = ffmpeg("-copyts -i", path, outputs)
    times = [float(time) for time in re.findall(r"n: *\d+ pts: *\S+ pts_time:(\S+)", log)]
    heard = re.search(r"#tb 0: (\d+)/(\d+)\n[^$]*^0, *\S+ +(-?\d+),", sounds, re.MULTILINE)
    head = log.split("Output #0")[0].split("Stream mapping")[0]
    streams = [line for line in head.splitlines() if re.match(r"\s+Stream #0", line)]
    length = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)", head)
    seconds = sum(float(part) * unit for part, unit in zip(length.groups(), (3600, 60, 1))) if length else 0.0
    sound = int(heard[3]) * int(heard[1]) / int(heard[2]) if heard and " Audio: " in head else None
    return times, sound, len(streams), seconds


def check(odd: Odd, folder: Path) -> str:
    """Make, read and encode a clip; return what came of it in words.  Raises AssertionError where that is wrong."""
    source = folder / odd.name
    source.parent.mkdir(parents=True, exist_ok=True)
    odd.make(source)
    out = folder / "coded"
    target = target_of(source, odd.codec, out)
    try:
        shown = list(decode_frames(source))
        picked = list(extract_frames(source, sorted({0, len(shown) - 1})))
        clip = analyse_clip(source)
        row = encode_clip(clip, [12] * len(clip.scenes), target, odd.codec)
    except UserError as error:
        assert odd.refused and re.search(odd.refused, str(error)), error
        assert not target.exists() and not list(out.glob(".part*"))
        return f"refused: {str(error).split(': ', 1)[1][:60]}"
    assert not odd.refused, "it was encoded"
    assert [number for number, _, _ in picked] == sorted({0, len(shown) - 1})
    assert re.fullmatch(odd.suffix or re.escape(source.suffix), target.suffix), target
    assert re.search(odd.warning, row["warning"]), row["warning"]
    coded = list(decode_frames(target))
    assert len(coded) == len(shown) == row["frames"]
    before, after = frame_times(source), frame_times(target)
    gaps = np.diff(odd.times) if len(odd.times) > 1 else [1 / RATE]
    half = min(gaps) / 2
    if len(odd.times):
        assert len(coded) == len(odd.times)
        assert np.abs(np.array(after[0]) - after[0][0] - odd.times + odd.times[0]).max() < half, after[0]
    if not odd.turned:
        numbers = [read_number(frame) for frame in coded]
        assert numbers == [read_number(frame) for frame in shown]
        if len(odd.times):
            assert numbers == list(odd.numbers or range(len(coded)))
        offset = np.mean([read_patches(a) - read_patches(b) for a, b in zip(coded, shown)], 0)
        assert np.abs(offset).max() < odd.tolerance and np.abs(offset.mean(0)).max() < 1, offset
    assert after[2] == odd.streams, f"{after[2]} streams"
    drift = None
    if before[1] is not None:
        drift = (after[0][0] - after[1]) - (before[0][0] - before[1])
        assert abs(drift) < half, f"the sound is off by {drift:.3f} s"
    if odd.end:
        assert abs(after[3] - odd.end) < half, f"{after[3]} s"
    sound = "" if drift is None else f", sound within {1000 * abs(drift):.0f} ms"
    return f"{target.suffix[1:]}, {len(coded)} frames{sound}" + (f"; {row['warning']}" if row["warning"] else "")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    print("| clip | encoded as |\n|---|---|")
    for number, odd in enumerate(CLIPS):
        if len(sys.argv) < 3 or re.search(sys.argv[2], odd.name):
            name = odd.name if len(odd.name) < 40 else "a name of all printable ASCII characters.mp4"
            try:
                result = check(odd, place / str(number))
            except AssertionError as wrong:
                result = f"**wrong**: {str(wrong)[:500]}"
            print(f"| {name} | {result} |".replace("\n", " "), flush=True)
            shutil.rmtree(place / str(number), ignore_errors=True)
