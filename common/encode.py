"""Code pictures and clips at the JND levels that were predicted for them, and say what that saves.

H.264 is coded as VideoSet coded its clips, which is what a level means.  Other codecs are coded as well as that H.264
would be: with their coarsest setting whose PSNR of luma is at least as high, found on the picture or scene itself.
"""

import contextlib
import os
import shutil
import statistics
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from common import ffmpeg, scenes
from common.clips import compare, is_clip
from common.codecs import H264, coarsest, coder
from common.coded import quality
from common.errors import UserError
from common.ffmpeg_process import run
from common.files import whole_file
from common.images import read_picture
from common.metrics import HIGHEST_DB, luma, psnr

SCENE_QP = {"lowest": min, "median": statistics.median}
# Frames of a scene that decide which setting is as good as a QP.  Of 72, HEVC's CRF came out at most 1 from what whole
# scenes of 60 to 150 frames ask for, SVT-AV1's 2; of 48, which its groups of pictures hardly fit, 4.
SAMPLE = 72


def nearest(level):
    """The whole QP that a level, in decimals, is coded at: the nearest, halves upwards, within 1 to 51."""
    if not np.isfinite(level):
        raise UserError(f"level {level}: expected a QP, a number from 0 to 51")
    return int(min(max(level + 0.5, H264.settings[-1]), H264.settings[0]))


def target_of(path, codec, folder):
    """The file that a picture or clip is coded as in `folder`: its own name with the suffix of what holds it.

    A clip, by its suffix, is looked at for its sound.  Raises UserError where the codec is not for it.
    """
    path = Path(path)
    if not is_clip(path):
        return Path(folder) / f"{path.stem}{coder(codec, clip=False).suffix}"
    coder(codec, clip=True)
    return Path(folder) / f"{path.stem}{scenes.container(path)}"


def targets_of(paths, codec, folder):
    """{path: target} of several, or the UserError in its place that says why one has none.

    They lie below `folder` as the inputs do below the folder that holds all of them.  Names that differ in their suffix
    only keep it: a.png.mp4, a.jpg.mp4.  Raises UserError where two would still be one file, or one of the inputs.
    """
    above = {path: os.path.dirname(os.path.abspath(path)) for path in paths}
    top = os.path.commonpath(above.values()) if above else ""
    targets = {}
    for path in paths:
        try:
            targets[path] = target_of(path, codec, Path(folder, os.path.relpath(above[path], top)))
        except UserError as error:
            targets[path] = error
    plain, owner, inputs = Counter(targets.values()), {}, _identities(paths)
    for path, target in targets.items():
        if isinstance(target, UserError):
            continue
        if plain[target] > 1:
            target = targets[path] = target.with_name(f"{Path(path).name}{target.suffix}")
        if target in owner:
            raise UserError(f"{path}: would be coded as {target}, as {owner[target]} is; give folders of their own")
        owner[target] = path
        _refuse(target, inputs)
    return targets


def _identities(paths):
    """What files are told by, whatever they are called: names without links, and numbers of those that are there."""
    found = [os.stat(path) for path in paths if os.path.exists(path)]
    return {os.path.realpath(path) for path in paths} | {(file.st_dev, file.st_ino) for file in found}


def _refuse(target, inputs):
    """Raise UserError where `target` is one of the inputs, given by their `_identities`."""
    if inputs & _identities([target]):
        raise UserError(f"{target}: this is an input, which would be overwritten; give another folder")


def encode_picture(path, qp, codec, folder, baseline=None, target=None):
    """Code one picture at the level `qp` and return what came of it, a row of a report.

    codec: a key of CODECS.  target: the file, by default `target_of`; one that is there is replaced.  baseline: a QP
    to compare the size with.  H.264 and HEVC need even sizes: the last row or column is repeated.  Transparency is
    dropped, the picture is upright; a colour profile goes along in JPEG and AVIF.

    The row: input, target, codec, level, qp, parameter and value of the codec's own setting, mapping (in words, ""
    for H.264), bytes (of the file), bits a pixel, psnr luma and psnr rgb (dB), ssim and vmaf (None where
    the picture is too small), baseline qp, baseline value, baseline bytes, saving % (None without baseline).
    Raises UserError.
    """
    target = Path(target or target_of(path, codec, folder))
    _refuse(target, _identities([path]))
    using, pixels, profile = coder(codec, clip=False), read_picture(path), _profile(path)
    at = nearest(qp)
    with tempfile.TemporaryDirectory() as folder:
        coded = {}

        def file_of(value):
            if value not in coded:
                coded[value] = Path(folder, f"{value}{using.suffix}")
                _write(pixels, coded[value], using, value, profile)
            return coded[value]

        def db_of(value):
            return _db(luma(pixels), luma(_read(file_of(value), using, pixels)))

        def setting(qp):
            if using is H264:
                return qp, ""
            wanted = _db(luma(pixels), luma(ffmpeg.code_picture(pixels, qp).pixels))
            value, db = coarsest(using.settings, db_of, wanted)
            return value, _mapping(db, wanted, qp)

        value, mapping = setting(at)
        size = file_of(value).stat().st_size
        row = {"input": str(path), "target": str(target), "codec": codec, "level": float(qp), "qp": at}
        row |= {"parameter": using.parameter, "value": value, "mapping": mapping, "bytes": size}
        row["bits a pixel"] = 8 * size / pixels[..., 0].size
        decoded = _read(file_of(value), using, pixels)
        row |= quality(pixels, decoded)
        row["vmaf"] = ffmpeg.vmaf(pixels, decoded) if min(pixels.shape[:2]) > 16 else None
        other = None if baseline is None else setting(nearest(baseline))[0]
        row |= _saving(size, baseline, other, None if other is None else file_of(other).stat().st_size)
        with whole_file(target) as temporary:
            shutil.copyfile(file_of(value), temporary)
    return row


def encode_clip(path, levels, codec, folder, baseline=None, of="lowest", target=None):
    """Code a clip, each scene at a QP of its own, and return what came of it, a row of a report.

    levels: [(frame's number from 0, seconds, level), ...], in any order, at least one.  of: a scene's QP is the
    "lowest" of its frames' levels, or their "median"; a scene without any has the level of the nearest frame before it,
    or, at the start, after it.  codec, target, baseline: as `encode_picture`.

    The coded clip has the same frames at the same times, upright, in 8-bit 4:2:0, even in size, its colour tags and
    pixel shape kept; sound and subtitles are copied as they are, into .mp4 if that takes them, else .mkv.

    The row: as `encode_picture`; qp, value and mapping of the scene with the lowest QP; bytes and kb/s of the
    pictures alone; psnr luma, the mean of all frames, and lowest psnr luma; ssim and vmaf, means, of luma; frames,
    seconds, and scenes: [{"start", "end", "qp", "value", "mapping"}, ...], both frames included.
    Raises UserError.
    """
    target = Path(os.path.abspath(target or target_of(path, codec, folder)))
    _refuse(target, _identities([path]))
    using = coder(codec, clip=True)
    clip = scenes.look(path)
    qps = scene_qps(clip.scenes, levels, of)
    wanted = [{qp} | ({nearest(baseline)} if baseline is not None else set()) for qp in qps]
    passes = 2 if using is H264 else 3
    bar = tqdm(total=passes * len(clip.times), unit="frame", desc=Path(path).name, disable=None, leave=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with bar, _workshop(target) as work:
        settings = _settings(clip, using, wanted, work, bar.update)
        doing = f"coding {path} in {using.title}"
        values = [{setting[qp][0] for qp in those} for setting, those in zip(settings, wanted)]
        files = scenes.code(clip, using, values, work, doing, bar.update)
        chosen = [file[setting[qp][0]] for file, setting, qp in zip(files, settings, qps)]
        with whole_file(target) as temporary:
            run(scenes.join(clip, chosen, temporary, work), doing, timeout=scenes.WHOLE, target=temporary)
            measured = compare(
                ffmpeg.clip_input(temporary), clip.frames(), f"measuring {path}", min(clip.even) > 16, scenes.WHOLE
            )
            if len(measured["psnr"]) != len(clip.times):
                raise UserError(
                    f"{doing}: {len(measured['psnr'])} frames came of {len(clip.times)}; copy the clip again"
                )
        bar.update(len(clip.times))
        size, other = scenes.size_of(chosen), None
        if baseline is not None:
            at = nearest(baseline)
            other = scenes.size_of([file[setting[at][0]] for file, setting in zip(files, settings)])
    rows = [
        {"start": first, "end": last, "qp": qp, "value": setting[qp][0], "mapping": setting[qp][1]}
        for (first, last), qp, setting in zip(clip.scenes, qps, settings)
    ]
    lowest = min(rows, key=lambda row: row["qp"])
    seconds = float((clip.times[-1] - clip.times[0]) * clip.tick + 1 / clip.rate)
    height, width = clip.size
    row = {"input": str(path), "target": str(target), "codec": codec, "level": min(level for _, _, level in levels)}
    row |= {"qp": lowest["qp"], "parameter": using.parameter, "value": lowest["value"], "mapping": lowest["mapping"]}
    row |= {"bytes": size, "bits a pixel": 8 * size / (height * width * len(clip.times)), "kb/s": 8e-3 * size / seconds}
    row |= {"psnr luma": statistics.fmean(measured["psnr"]), "lowest psnr luma": min(measured["psnr"])}
    row |= {"ssim": measured["ssim"], "vmaf": measured["vmaf"], "frames": len(clip.times), "seconds": seconds}
    row |= _saving(size, baseline, None, other)
    return row | {"scenes": rows}


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
    found = []
    doing = f"finding what {using.title} needs for {clip.path}"
    sample, trial = work / "sample.ivf", work / "trial.mp4"

    def db_of(coder, value):
        run(clip.output(coder, str(sample), trial, value), doing, timeout=ffmpeg.CLIP_TIMEOUT)
        reference = ffmpeg.ffmpeg.input(str(sample), format="ivf")
        return statistics.fmean(compare(ffmpeg.clip_input(trial), reference, doing, with_vmaf=False)["psnr"])

    for scene, first, frames in scenes.each_scene(clip, doing, progress):
        chosen = sample_of(*clip.scenes[scene])
        with open(sample, "wb") as file:
            file.write(clip.header)
            for number, pixels in frames:
                if number in chosen:
                    file.write(clip.packed(pixels, number, first))
        known, settings = {}, {}

        def quality_of(value, known=known):
            if value not in known:
                known[value] = db_of(using, value)
            return known[value]

        for qp in sorted(wanted[scene]):
            due = db_of(H264, qp)
            value, db = coarsest(using.settings, quality_of, due)
            settings[qp] = value, _mapping(db, due, qp)
        found.append(settings)
    return found


def sample_of(first, last):
    """The frames of a scene that are tried: all of a short one, else those of its middle."""
    start = max(first, (first + last + 1 - SAMPLE) // 2)
    return range(start, min(start + SAMPLE, last + 1))


def _write(pixels, file, using, value, profile):
    if using.save:
        with open(file, "wb") as opened:
            using.save(pixels, opened, value, profile)
    else:
        ffmpeg.encode(pixels, file, value, output=using.output)


def _read(file, using, pixels):
    if using.save:
        return read_picture(file)
    return next(ffmpeg.decode(file, pixels.shape[:2]))


def _db(a, b):
    return min(psnr(a, b), HIGHEST_DB)


def _mapping(db, wanted, qp):
    how = "mapped by equal PSNR" if db >= wanted else "its best, below the PSNR wanted"
    return f"{how} ({db:.2f} dB against {wanted:.2f} dB of H.264 at QP {qp})"


def _saving(size, baseline, value, other):
    saving = None if other is None else 100 * (1 - size / other)
    at = None if baseline is None else nearest(baseline)
    return {"baseline qp": at, "baseline value": value, "baseline bytes": other, "saving %": saving}


def _profile(path):
    """The picture's ICC profile, if it is one of R, G, B, which its pixels are in."""
    with Image.open(path) as picture:
        profile = picture.info.get("icc_profile") or b""
    return profile if profile[16:20] == b"RGB " else None


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
