"""Code pictures and clips at the JND levels that were predicted for them, and say what that saves.

H.264 is coded as VideoSet coded its clips, which is what a level means.  Other codecs are coded as well as that H.264
would be: with their coarsest setting whose PSNR of luma is at least as high, found on the picture or scene itself.
"""

import contextlib
import functools
import os
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from common.core.errors import UserError
from common.core.files import atomic_write
from common.encoding import scenes
from common.encoding.codecs import H264, coarsest, coder
from common.encoding.targets import identities, refuse, target_of
from common.media import ffmpeg
from common.media.clips import compare_streams
from common.media.ffmpeg_process import run
from common.media.images import read_image
from common.media.metrics import HIGHEST_DB, compare_images, luma, psnr

SCENE_QP = {"lowest": min, "median": statistics.median}
# The first frames of a scene, so many, decide which setting is as good as a QP.  They are coded as they will be, frame
# types and all.  Others would not do: a coder that finds each frame where one like it put that before loses little.
SAMPLE = 120


def nearest(level):
    """The whole QP that a level, in decimals, is coded at: the nearest, halves upwards, within 1 to 51."""
    if not np.isfinite(level):
        raise UserError(f"level {level}: expected a QP, a number from 0 to 51")
    return int(min(max(level + 0.5, H264.settings[-1]), H264.settings[0]))


def encode_image(path, qp, codec, folder, baseline=None, target=None):
    """Code one picture at the level `qp` and return what came of it, a row of a report.

    codec: a key of CODECS.  target: the file, by default `target_of`; one that is there is replaced.  baseline: a QP
    to compare the size with.  H.264 and HEVC need even sizes: the last row or column is repeated.  Transparency is
    dropped, 16-bit samples lose their low byte, the picture is upright; a colour profile goes along in JPEG and AVIF.

    The row: input, target, codec, level, qp, parameter and value of the codec's own setting, mapping (in words, "" for
    H.264), bytes (of the file), bits a pixel, psnr luma and psnr rgb (dB), ssim rgb, the mean of R, G and B, and vmaf
    (None where the picture is too small), baseline qp, baseline value, baseline bytes, saving % (None without
    baseline), warning (in words, "" without).
    Raises UserError.
    """
    target = Path(target or target_of(path, codec, folder))
    refuse(target, identities([path]))
    using, pixels = coder(codec, clip=False), read_image(path)
    profile, wide = _beside_pixels(path)
    at, other = nearest(qp), None if baseline is None else nearest(baseline)
    with tempfile.TemporaryDirectory() as folder:

        @functools.cache
        def file_of(value):
            file = Path(folder, f"{value}{using.suffix}")
            _write(pixels, file, using, value, profile)
            return file

        def db_of(value):
            return _db(pixels, _read(file_of(value), using, pixels))

        def setting(qp):
            if using is H264:
                return qp, ""
            wanted = _db(pixels, ffmpeg.encode_intra(pixels, qp).pixels)
            value, db = coarsest(using.settings, db_of, wanted)
            return value, _mapping(db, wanted, qp)

        def size_of(value):
            return file_of(value).stat().st_size

        value, mapping = setting(at)
        row = {"input": str(path), "target": str(target), "codec": codec, "level": float(qp), "qp": at}
        row |= {"parameter": using.parameter, "value": value, "mapping": mapping, "bytes": size_of(value)}
        row["bits a pixel"] = 8 * row["bytes"] / pixels[..., 0].size
        than = None if other is None else setting(other)[0]
        row |= _saving(row["bytes"], other, than, None if other is None else size_of(than))
        decoded = _read(file_of(value), using, pixels)
        row["vmaf"] = ffmpeg.vmaf(pixels, decoded) if min(pixels.shape[:2]) > 16 else None
        measured = compare_images(pixels, decoded)  # last, since only ffmpeg can be stopped
        row |= {"ssim rgb": measured.pop("ssim"), **measured}
        with atomic_write(target) as temporary:
            shutil.copyfile(file_of(value), temporary)
    return row | {"warning": "16 bits a sample, coded in 8" if wide else ""}


def encode_clip(path, levels, codec, folder, baseline=None, of="lowest", target=None):
    """Code a clip, each scene at a QP of its own, and return what came of it, a row of a report.

    levels: [(frame's number from 0, seconds, level), ...], in any order, at least one.  of: a scene's QP is the
    "lowest" of its frames' levels, or their "median"; a scene without any has the level of the nearest frame before it,
    or, at the start, after it.  codec, target, baseline: as `encode_image`.

    The coded clip has the same frames at the same times, upright, in 8-bit 4:2:0, even in size, its colour tags and
    pixel shape kept; sound and subtitles are copied as they are, into .mp4 if that takes them, else .mkv.

    8 bits a sample are what VideoSet's levels are of; more are coded in 8, with a warning.  HDR (PQ, HLG) keeps its
    tags, without which it would be shown in wrong colours; its mastering data and Dolby Vision's are dropped, and PSNR,
    SSIM and VMAF are taken of its samples as if they were SDR.

    The row: as `encode_image`; qp, value and mapping of the scene with the lowest QP; bytes and kb/s of the
    pictures alone; psnr luma, the mean of all frames, and lowest psnr luma; ssim luma and vmaf, means; frames,
    seconds, and scenes: [{"start", "end", "qp", "value", "mapping"}, ...], both frames included.
    Raises UserError.
    """
    given = target or target_of(path, codec, folder)
    target = Path(os.path.abspath(given))
    refuse(target, identities([path]))
    using = coder(codec, clip=True)
    clip = scenes.look(path)
    qps, other = scene_qps(clip.scenes, levels, of), None if baseline is None else nearest(baseline)
    wanted = [{qp} if other is None else {qp, other} for qp in qps]
    passes = 2 if using is H264 else 3
    bar = tqdm(total=passes * len(clip.times), unit="frame", desc=Path(path).name, disable=None, leave=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with bar, _workshop(target) as work:
        settings = _settings(clip, using, wanted, work, bar.update)
        doing = f"coding {path} in {using.title}"
        values = [{value for value, _ in found.values()} for found in settings]
        files = scenes.code(clip, using, values, work, doing, bar.update)

        def coded_at(qps):
            return [file[found[qp][0]] for file, found, qp in zip(files, settings, qps)]

        with atomic_write(target) as temporary:
            graph = scenes.join(clip, coded_at(qps), temporary, work)
            run(graph, doing, timeout=scenes.WHOLE, target=temporary)
            coded = ffmpeg.clip_input(temporary)
            measured = compare_streams(coded, clip.frames(), f"measuring {path}", min(clip.even) > 16, scenes.WHOLE)
            dbs = measured["psnr"]
            if len(dbs) != len(clip.times):
                raise UserError(f"{doing}: {len(dbs)} frames came of {len(clip.times)}; copy the clip again")
        bar.update(len(clip.times))
        size = scenes.size_of(coded_at(qps))
        than = None if other is None else scenes.size_of(coded_at([other] * len(qps)))
    rows = [
        {"start": first, "end": last, "qp": qp, "value": found[qp][0], "mapping": found[qp][1]}
        for (first, last), qp, found in zip(clip.scenes, qps, settings)
    ]
    lowest = min(rows, key=lambda row: row["qp"])
    seconds = float((clip.times[-1] - clip.times[0]) * clip.tick + 1 / clip.rate)
    height, width = clip.size
    row = {"input": str(path), "target": str(given), "codec": codec, "level": min(level for _, _, level in levels)}
    row |= {"qp": lowest["qp"], "parameter": using.parameter, "value": lowest["value"], "mapping": lowest["mapping"]}
    row |= {"bytes": size, "bits a pixel": 8 * size / (height * width * len(dbs)), "kb/s": 8e-3 * size / seconds}
    row |= {"psnr luma": statistics.fmean(dbs), "lowest psnr luma": min(dbs)}
    row |= {"ssim luma": measured["ssim"], "vmaf": measured["vmaf"], "frames": len(dbs), "seconds": seconds}
    return row | _saving(size, other, None, than) | {"scenes": rows, "warning": clip.lost}


def scene_qps(parts, levels, of="lowest"):
    """The whole QP of each scene; parts: [(first frame, last frame), ...]; levels, of: as `encode_clip`."""
    levels = sorted((number, level) for number, _, level in levels)
    qps = []
    for first, last in parts:
        inside = [level for number, level in levels if first <= number <= last]
        before = [level for number, level in levels if number < first]
        qps.append(nearest(SCENE_QP[of](inside or before[-1:] or [levels[0][1]])))
    return qps


def _settings(clip, using, wanted, work, progress):
    """[{QP: (setting, mapping in words)}, ...], a dict a scene."""
    if using is H264:
        return [{qp: (qp, "") for qp in those} for those in wanted]
    settings = []
    doing = f"finding what {using.title} needs for {clip.path}"
    sample, trials = work / "sample.ivf", work / "trials"

    def db_of(coder, value, file):
        run(clip.output(coder, str(sample), file, value), doing, timeout=ffmpeg.CLIP_TIMEOUT)
        pair = ffmpeg.clip_input(file), clip.stream(str(sample))
        return statistics.fmean(compare_streams(*pair, doing, with_vmaf=False)["psnr"])

    for scene, first, frames in scenes.each_scene(clip, doing, progress):
        last = min(clip.scenes[scene][1], first + SAMPLE - 1)
        with open(sample, "wb") as file:
            file.write(clip.header)
            for number, pixels in frames:
                if number <= last:
                    file.write(clip.packed(pixels, number, first))

        @functools.cache
        def quality_of(value, scene=scene):
            return db_of(using, value, scenes.part(trials, scene, value))

        trials.mkdir()
        found = {}
        for qp in sorted(wanted[scene]):
            due = db_of(H264, qp, trials / "h264.mp4")
            value, db = coarsest(using.settings, quality_of, due)
            found[qp] = value, _mapping(db, due, qp, f" on frames {first} to {last}")
        if last == clip.scenes[scene][1]:  # all of it is coded already
            for value in {value for value, _ in found.values()}:
                scenes.part(trials, scene, value).replace(scenes.part(work, scene, value))
        settings.append(found)
        shutil.rmtree(trials)
    return settings


def _write(pixels, file, using, value, profile):
    if using.save:
        with open(file, "wb") as opened:
            using.save(pixels, opened, value, profile)
    else:
        ffmpeg.encode_h264(pixels, file, value, output=using.output)


def _read(file, using, pixels):
    return read_image(file) if using.save else next(ffmpeg.decode_frames(file, pixels.shape[:2]))


def _db(a, b):
    return min(psnr(a, b, luma), HIGHEST_DB)


def _mapping(db, wanted, qp, where=""):
    how = "mapped by equal PSNR" if db >= wanted else "its best, below the PSNR wanted"
    return f"{how}{where} ({db:.2f} dB against {wanted:.2f} dB of H.264 at QP {qp})"


def _saving(size, qp, value, than):
    saving = None if than is None else 100 * (1 - size / than)
    return {"baseline qp": qp, "baseline value": value, "baseline bytes": than, "saving %": saving}


def _beside_pixels(path):
    """A picture's ICC profile, if one of R, G, B, which its pixels are in, and whether its samples have 16 bits."""
    with Image.open(path) as picture:
        profile = picture.info.get("icc_profile") or b""
        stored = str(picture.tile)
    return profile if profile[16:20] == b"RGB " else None, ";16" in stored or ", 65535)" in stored


@contextlib.contextmanager
def _workshop(target):
    """A folder beside `target`, for what is large and not for long; a killed run's is replaced."""
    folder = target.with_name(f".part-{target.name}.scenes")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
