"""Each kind of input: sound material, which files of it are damaged, and the commands that read them then."""

import contextlib
import functools
import importlib
import os
import random
import shlex
import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import tifffile
from conftest import write_rootdir, zipped
from data.test_mcl_jci import write_downloads
from image_kinds import LOSSY, OTHERS, TIFFS, texture, write_other, write_tiff_kind
from moving import make_clip, moving
from PIL import Image
from skimage import data
from zenodo_server import Server

from common import evaluate, prepare, weights
from common.core.errors import UserError
from common.media.ffmpeg import decode_frames
from common.media.images import read_image
from common.models.released import ICIP_2023
from fuzz import mutations, runner

NEAR = 3  # levels by which two decoders of a lossy format may differ
PREDICT = "small predict {} --model_weights_path {{made.weights}}"
PREDICT_ONNX = "small predict {} --model_weights_path {{made.network}}/Best.onnx"
TRAIN = "{} train --data_dir {} --checkpoint_path out --csv_log_path out --output_bias zero --epochs {}"
PHOTOS = "prepare photos {made.photos} --data_dir set --crops 1 --seed 1"


class Kind(NamedTuple):
    """A kind of input.  In commands, {made} is the Material, {file} what was damaged, {target} without `.part-`."""

    share: float  # of all inputs
    damaged: str  # PART/PATTERN: the part of the Material that is copied, and the files in it of which one is damaged
    commands: Sequence[str]  # one of them runs, in the folder of the copy
    alone: int = 0  # how many damaged files there are, without the rest of the part; 0: one, with the rest
    instead: str = ""  # pattern of other files that may stand in its place


KINDS = {
    "pictures": Kind(0.24, "pictures/*", [PREDICT_ONNX.format("pictures --output rows.csv")], alone=10),
    "pictures, other decoders": Kind(0.24, "pictures/*", ["compare pictures"], alone=10),
    "clips": Kind(
        0.06,
        "clips/*",
        [
            PREDICT_ONNX.format(f"clips --output rows.csv --frames {frames}")
            for frames in ("first", "middle", "scenes", "0,3", "1s", "keyframes")
        ],
        alone=1,
    ),
    "weight files": Kind(
        0.1,
        "weights/*",
        ["weights verify {file}", "small predict {made.root}/test --model_weights_path {file}"],
    ),
    "JND-Levels.txt": Kind(
        0.07,
        "root/*/JND-Levels.txt",
        [
            "prepare check root",
            "small test --data_dir root --model_weights_path {made.weights} --result_path out",
            TRAIN.format("small", "root", 2),
        ],
    ),
    "manifests": Kind(0.03, "set/manifest.csv", ["prepare check set"]),
    "labels of clips": Kind(
        0.03,
        "tables/*.csv",
        ["prepare clips {made.clips} --labels {file} --data_dir new --split 1 0 0 --frames first --jobs 2"],
    ),
    "sheets of MCL-JCI": Kind(
        0.03,
        "mcl/*.csv",
        [f"prepare mcl-jci mcl mcl --data_dir new --label {name}" for name in ("stairs", "median", "sur")],
    ),
    "attention maps": Kind(0.03, "root/vatrain/*", [TRAIN.format("mapped", "root", 2)], instead="pictures/*"),
    "trainings": Kind(
        0.05, "out/**/*", [TRAIN.format("small", "{made.root}", epochs) + " --resume" for epochs in (2, 3)]
    ),
    "rows of --resume": Kind(0.03, "rows/*", [PREDICT_ONNX.format("{made.root}/test --output {target} --resume")], 1),
    "reports of --resume": Kind(
        0.02, "coded/*/*report.csv", [PREDICT_ONNX.format("{made.root}/test --encode {file.parent} --resume")]
    ),
    "plans of prepare": Kind(0.03, "set/.prepare/*.json", [PHOTOS, f"{PHOTOS} --overwrite"]),
    "archives": Kind(0.04, "zenodo/*", ["fetch {file}"]),
}


def command(line: str, folder: Path) -> Callable[[], int]:
    """Return the call of a command line's program in a folder.  What it needs is imported here, not by each child."""
    program, *words = shlex.split(line)
    call = PROGRAMS.get(program) or importlib.import_module("fuzz.networks").PROGRAMS[program]

    def run():
        os.chdir(folder)
        return call(words)

    return run


def damage(kind: Kind, made: "Material", folder: Path, draw: random.Random) -> Callable[[], int]:
    """Put a copy of the kind's material, damaged, into a folder; return a command that reads it."""
    part = getattr(made, kind.damaged.split("/")[0])
    if not kind.alone:
        shutil.copytree(part, folder / part.name)
    files = sorted(path for path in made.folder.glob(kind.damaged) if path.is_file())
    others = sorted(made.pictures.parent.glob(kind.instead)) if kind.instead else []
    for file in draw.sample(files, kind.alone or 1):
        source, target = draw.choice([file, *others]), folder / file.relative_to(made.folder)
        target.unlink(missing_ok=True)
        target = target.with_suffix(source.suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(mutations.mutate(source, draw))
    file = target.relative_to(folder)
    line = draw.choice(kind.commands).format(made=made, file=file, target=str(file).replace(".part-", ""))
    return command(line, folder)


def part(make: Callable[[Any, Path], None]) -> functools.cached_property:
    """Return a part of the Material: the folder of the function's name, which `make` fills when it is first needed."""

    def filled(made: "Material") -> Path:
        folder = made.folder / make.__name__
        folder.mkdir()
        make(made, folder)
        return folder

    return functools.cached_property(filled)


class Material:
    """Sound inputs, made by the commands themselves."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()

    def run(self, *lines: str) -> None:
        """Run command lines of ours in the folder; they must end well."""
        for line in lines:
            call = command(line.format(made=self), self.folder)
            end = runner.wait(runner.start(call, self.folder, limits=False), self.folder, 3600)
            assert end.code == 0, end

    @part
    def weights(self, folder: Path) -> None:
        self.run("save weights/Best.h5")

    @part
    def network(self, folder: Path) -> None:
        """The weights for ONNX Runtime, which predicts in a third of the time that Keras takes to start."""
        self.run("small export --model_weights_path {made.weights} --format onnx --output network/Best.onnx")

    @part
    def root(self, folder: Path) -> None:
        """A rootdir with attention maps."""
        write_rootdir(folder, 36, 64)
        self.run("prepare attention --data_dir root")

    @part
    def out(self, folder: Path) -> None:
        """What a training leaves."""
        self.run(TRAIN.format("small", "{made.root}", 2))

    @part
    def rows(self, folder: Path) -> None:
        """Tables of `predict --output`, finished and not."""
        self.run(*(PREDICT_ONNX.format(f"{{made.root}}/test --output rows/rows.{kind}") for kind in ("csv", "jsonl")))
        for table in list(folder.iterdir()):
            shutil.copy(table, folder / f".part-{table.name}")

    @part
    def coded(self, folder: Path) -> None:
        """What `predict --encode` leaves, finished and not."""
        self.run(
            *(PREDICT_ONNX.format(f"{{made.root}}/test --encode coded/{name}") for name in ("finished", "stopped"))
        )
        (folder / "stopped/report.csv").rename(folder / "stopped/.part-report.csv")

    @part
    def photos(self, folder: Path) -> None:
        for number, image in enumerate((data.coffee(), data.astronaut(), data.chelsea())):
            Image.fromarray(image[:360]).resize((640, 360)).save(folder / f"photo{number}.png")

    @part
    def set(self, folder: Path) -> None:
        """A dataset of photographs."""
        self.run(PHOTOS)

    @part
    def clips(self, folder: Path) -> None:
        kinds = {"a.mp4": {}, "b.mkv": {}, "c.264": {}, "d.avi": {"vcodec": "mpeg4"}, "e.webm": {"vcodec": "libvpx"},
                 "f.ts": {}, "g.mov": {"vcodec": "mjpeg"}, "h.mpg": {"vcodec": "mpeg2video", "rate": 25}}  # fmt: skip
        for number, (name, options) in enumerate(kinds.items()):
            make_clip(folder / name, moving(data.coffee()[number:], 6, 64, 48), **options)

    @part
    def tables(self, folder: Path) -> None:
        rows = [f"{clip.name},{20 + number},30,40" for number, clip in enumerate(sorted(self.clips.iterdir())[:3])]
        (folder / "labels.csv").write_text("\n".join(["name,JND1,JND2,JND3", *rows]))

    @part
    def mcl(self, folder: Path) -> None:
        write_downloads(folder)

    @part
    def zenodo(self, folder: Path) -> None:
        members = {"WP3/a.h5": (self.weights / "Best.h5").read_bytes(), "WP3/README.md": b"# Use", "WP3/LAT.py": b""}
        (folder / "archive.zip").write_bytes(zipped(members))

    @part
    def pictures(self, folder: Path) -> None:
        """Sound pictures of every format."""
        for name in (*OTHERS, *LOSSY):
            write_other(folder, name)
        for number, name in enumerate(list(TIFFS)[::4]):
            write_tiff_kind(folder / f"{number}.tif", name)
        for suffix, modes in {"bmp": "P 1 RGB", "png": "P 1", "tif": "P 1 CMYK", "jpg": "CMYK", "gif": "P"}.items():
            for mode in modes.split():
                Image.fromarray(texture()).convert(mode).save(folder / f"{mode}.{suffix}")
        tifffile.imwrite(folder / "tiles.tif", texture(), tile=(16, 16))


def compare(words: list[str]) -> int:
    """Read the pictures in a folder and print a line for each that is unlike what every other decoder gives."""
    pictures = {}
    for path in sorted(Path(words[0]).iterdir()):
        try:
            pictures[path] = read_image(path).astype(int)
        except UserError:
            print(f"refused {path.name}")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what the other decoders say
    for path, own in pictures.items():
        apart = {}
        for name, decode in {"OpenCV": by_opencv, "tifffile": by_tifffile, "ffmpeg": by_ffmpeg}.items():
            with contextlib.suppress(Exception):
                other = decode(path)
                if other.shape == own.shape and np.abs(own - other).max() <= NEAR:
                    break
                apart[name] = np.abs(own - other).mean().round(2) if other.shape == own.shape else other.shape
        else:
            print(f"APART {path.name}: {apart or 'no other decoder reads it'}")
    return 0


def by_opencv(path: Path) -> np.ndarray:
    pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None  # else it cannot read the file
    return pixels[..., ::-1]


def by_tifffile(path: Path) -> np.ndarray:
    page = tifffile.TiffFile(path).pages.first
    pixels = page.asarray()
    pixels = np.moveaxis(pixels, 0, -1) if page.planarconfig == 2 and pixels.ndim == 3 else pixels
    pixels = pixels >> 8 if pixels.dtype == np.uint16 else pixels * np.uint8(255) if pixels.dtype == bool else pixels
    pixels = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
    return (255 - pixels if page.photometric == 0 else pixels)[..., :3]


def by_ffmpeg(path: Path) -> np.ndarray:
    return next(decode_frames(path))


def fetch(words: list[str]) -> int:
    """Fetch an archive from a server that plays Zenodo, and now and then damages the record."""
    server, body, path = Server(), Path(words[0]).read_bytes(), f"/api/records/{ICIP_2023.record}"
    server.hold(body)
    status, headers, record = server.replies[path]
    draw = random.Random(body)
    if draw.random() < 0.2:
        server.replies[path] = status, headers, mutations.in_json(record, draw)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return weights.main(["fetch", "--folder", "got", "--record", str(ICIP_2023.record), "--zenodo", server.url])


PROGRAMS: dict[str, Callable[[list[str]], int]] = {
    "prepare": prepare.main,
    "evaluate": evaluate.main,
    "weights": weights.main,
    "fetch": fetch,
    "compare": compare,
}
"""{first word of a command line: what runs the others}; those with a network are in `networks`."""
