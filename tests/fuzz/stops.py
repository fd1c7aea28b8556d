"""`make stops`: commands stopped at random moments, on a full disk and by a reader that goes; some minutes.

    PYTHONPATH=.:tests python -m fuzz.stops [--seed 1] [--moments 50] [--command train] [--keep DIR]

A command that was stopped up to CHAIN times and then runs to its end must have written what an undisturbed run writes,
byte for byte.  Each time nothing may be left: no process and no lock, and no temporary file but one that was named or,
after a kill, that the next run removes.  `runner` says how a command is run without waiting for TensorFlow each time;
`start` does without that, because Python's own start is what it stops.
"""

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conftest import PROJECT
from golden import seeded
from h264_stream import encode_h264
from moving import film, moving
from skimage import data

from common.media.images import write_png
from fuzz import kinds, runner

WAYS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
CHAIN = 5
PATIENCE = 60  # seconds in which a stopped program must have ended, and its processes: a machine may be busy
LIMIT = 3600  # seconds for a command that is not stopped
OTHERWISE = ("run.json", "README.md", "index.html")  # they hold times

FRAMES, SHEETS = "{made.stops}/images", "{made.stops}/videoset"
ENCODE = kinds.PREDICT.format(f"{FRAMES}/1.png {FRAMES}/2.png {{made.stops}}/film.mp4 --encode coded --resume --jobs 2")
COMMANDS = {
    "train": kinds.TRAIN.format("small", "{made.root}", 12) + " --resume",
    "predict": kinds.PREDICT.format(f"{FRAMES} --output rows.csv --resume"),
    "predict_anew": kinds.PREDICT.format(f"{FRAMES} --output rows.jsonl --overwrite"),
    "encode": ENCODE,
    "encode_hevc": f"{ENCODE} --codec hevc",
    "encode_av1": f"{ENCODE} --codec av1",
    "photos": kinds.PHOTOS,
    "clips": f"prepare clips {SHEETS} --data_dir set --split 1 1 0 --size own --frames 0,3",
    "videoset": f"prepare videoset {SHEETS} {SHEETS} --data_dir set --size 64x48 --split 1 1 0 --frames 0,3,9",
    "evaluate": "evaluate --data_dir {made.root} --weights {made.stops}/weights --output results",
}
"""Each goes on where it was stopped."""


class Material(kinds.Material):
    """And what only these commands read."""

    @kinds.part
    def stops(self, folder: Path) -> None:
        for number in range(24):
            write_png(folder / "images" / f"{number}.png", data.coffee()[number : number + 360, number:])
        film(folder / "film.mp4")
        (folder / "weights").mkdir()
        seeded.write_h5("LAT", folder / "weights/LATJND1.h5")
        (folder / "videoset").mkdir()
        for number in (1, 2):
            frames = moving(data.chelsea()[number:], 12)
            encode_h264(frames, folder / f"videoset/videoSRC{number:03}_64x48_10_qp_00.264", 0, 10)
        for place, qp in (("1st", 22), ("2nd", 30), ("3rd", 38)):
            sheet = f"sequence_index,jnd,mean\n1,{qp},{qp}\n2,{qp + 1},{qp + 1}\n"
            (folder / "videoset" / f"64x48_{place}.csv").write_text(sheet)


def written(folder: Path) -> dict[str, str]:
    """Return {file: digest} of what a command has written in its folder."""
    names = {str(path) for path in runner.files_in(folder) if path.name not in OTHERWISE}
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)}


def after(end: runner.End, folder: Path, way: str, before: list[str]) -> list[str]:
    """Return what is wrong right after a stop.  before: What an earlier kill had left."""
    code, wrong = WAYS[way], []
    if end.code not in (0, -code if way == "SIGKILL" else 128 + code):
        wrong.append(f"exit code {end.code}")
    if "Traceback" in end.err + end.out:
        wrong.append(f"traceback: {end.err[-1500:]}")
    if way != "SIGKILL" and end.code and not end.err.strip():
        wrong.append("no word")
    left = [name for name in runner.leftovers(folder, end.err) if name not in before]
    if way == "SIGKILL":
        deadline = time.monotonic() + PATIENCE
        while (left := [f"process {number}" for number in runner.processes(folder)]) and time.monotonic() < deadline:
            time.sleep(0.1)
    wrong += [f"left behind: {name}" for name in left]
    visible = [path for path in runner.files_in(folder) if not any(part[0] == "." for part in path.parts)]
    visible = [path for path in visible if path.parts[0] != "tmp" and path.name != "logs.csv"]  # a log grows
    return wrong + [f"{path}: not whole" for path in visible if not runner.is_whole(folder / path)]


def finish(line: str, folder: Path, due: dict[str, str]) -> list[str]:
    """Run a command line to its end; return what is unlike the undisturbed run."""
    end = runner.wait(runner.start(kinds.command(line, folder), folder, limits=False), folder, LIMIT)
    if end.code:
        return [f"not resumed: exit code {end.code}: {end.err[-300:]}"]
    got = written(folder)
    wrong = [f"{name}: differs" for name in due if got.get(name) != due[name]]
    return wrong + [f"left behind: {name}" for name in runner.leftovers(folder)] + [
        f"{name}: not expected" for name in got.keys() - due.keys()]  # fmt: skip


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Mount a disk of so many bytes; give the block whether that is permitted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={max(size, 4096)}", "tmpfs", folder]
    mounted = subprocess.run(command, capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder])


class Trials:
    """All stops of one command."""

    def __init__(self, name: str, line: str, folder: Path, draw: random.Random, keep: Path | None):
        self.name, self.line, self.folder, self.draw, self.keep = name, line, folder, draw, keep
        self.tried, self.survived, self.number, self.slowest = Counter(), Counter(), 0, 0.0
        place, started = self.place(), time.monotonic()
        wrong = finish(line, place, {})
        assert not [line for line in wrong if "not expected" not in line], wrong
        self.seconds, self.due = time.monotonic() - started, written(place)
        self.bytes = sum((place / name).stat().st_size for name in self.due)

    def place(self) -> Path:
        self.number += 1
        place = self.folder / f"{self.name}-{self.number}"
        place.mkdir(parents=True)
        return place

    def count(self, way: str, wrong: list[str], place: Path) -> None:
        self.tried[way] += 1
        self.survived[way] += not wrong
        if wrong:
            print(f"  {self.name}, {way}, {place}: {'; '.join(wrong[:4])}", flush=True)
            if self.keep:
                shutil.copytree(place, self.keep / place.name, dirs_exist_ok=True)

    def signals(self, moments: int) -> None:
        stopped = []
        while moments > 0:
            place, stopped = self.place(), []
            for _ in range(CHAIN):
                way, before = self.draw.choice(list(WAYS)), runner.leftovers(place)
                child = runner.start(kinds.command(self.line, place), place, limits=False)
                time.sleep(self.draw.uniform(0, self.seconds))
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if way == "Ctrl-C" else os.kill)(child, WAYS[way])
                stopping = time.monotonic()
                end = runner.wait(child, place, PATIENCE)
                if end.code == 0:
                    break
                stopped.append((way, after(end, place, way, before)))
                self.slowest = max(self.slowest, time.monotonic() - stopping)
            if stopped:
                last = finish(self.line, place, self.due)
                for number, (way, wrong) in enumerate(stopped):
                    self.count(way, wrong + (last if number == len(stopped) - 1 else []), place)
                moments -= len(stopped)
            shutil.rmtree(place)

    def full_disks(self, count: int) -> None:
        for _ in range(count):
            place = self.place()
            with small_disk(place, int(self.bytes * self.draw.uniform(0.02, 1))) as mounted:
                if not mounted:
                    return
                log = self.place()
                end = runner.wait(runner.start(kinds.command(self.line, place), log, limits=False), log, LIMIT)
                wrong = [] if end.code in (0, 1, 2) else [f"exit code {end.code}"]
                wrong += [f"traceback: {end.err.splitlines()[-1]}"] if "Traceback" in end.err + end.out else []
                if end.code == 2 and len(lines := end.err.strip().splitlines()) != 1:
                    wrong.append(f"{len(lines)} lines: {lines[:3]}")
                wrong += [f"left behind: {name}" for name in runner.leftovers(place, end.err)]
                subprocess.run(["mount", "-o", "remount,size=1g", place], check=True)
                wrong += finish(self.line, place, self.due)
                self.count("full disk", wrong, place)

    def reader_goes(self) -> None:
        place, (reading, writing) = self.place(), os.pipe()
        child = runner.start(kinds.command(self.line, place), place, limits=False, stdout=writing)
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        end = runner.wait(child, place, LIMIT)
        wrong = [] if end.code in (0, 141) else [f"exit code {end.code}: {end.err[-200:]}"]
        wrong += [f"traceback: {end.err.splitlines()[-1]}"] if "Traceback" in end.err else []
        self.count("| head", wrong + finish(self.line, place, self.due), place)


def starts(moments: int, draw: random.Random) -> tuple[Counter, Counter]:
    """Stop programs in their first half second, in which they import."""
    tried, survived = Counter(), Counter()
    for _ in range(moments):
        command, way = draw.choice((["LAT.py", "test"], ["-m", "common.prepare", "check"])), draw.choice(list(WAYS)[1:])
        process = subprocess.Popen([sys.executable, *command], cwd=PROJECT, stderr=subprocess.PIPE, text=True)
        time.sleep(draw.uniform(0.05, 0.5))
        process.send_signal(WAYS[way])
        said = process.communicate()[1]
        tried[way] += 1
        survived[way] += "Traceback" not in said and process.returncode in (2, -WAYS[way], 128 + WAYS[way])
    return tried, survived


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--moments", type=int, default=50, help="of each command")
    parser.add_argument("--command", choices=COMMANDS, action="append")
    parser.add_argument("--keep", type=Path, help="where the folders of commands that fail go")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="stops-"))
    made, ways, rows = Material(folder / "material"), [*WAYS, "full disk", "| head"], {}
    for name in options.command or COMMANDS:
        line, draw = COMMANDS[name].format(made=made), random.Random(f"{options.seed} {name}")
        trials = Trials(name, line, folder, draw, options.keep)
        trials.signals(options.moments)
        trials.full_disks(max(1, options.moments // 10))
        trials.reader_goes()
        rows[name] = trials.tried, trials.survived
        print(
            f"{name:10} {trials.seconds:5.1f} s, ended within {trials.slowest:4.1f} s ",
            *(f"{way} {trials.survived[way]}/{trials.tried[way]} " for way in ways),
            flush=True,
        )
    if not options.command:
        rows["start"] = starts(options.moments, random.Random(options.seed))
        print("start ", *(f"{way} {rows['start'][1][way]}/{rows['start'][0][way]} " for way in ways[1:3]))
    shutil.rmtree(folder)
    return int(any(tried != survived for tried, survived in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
