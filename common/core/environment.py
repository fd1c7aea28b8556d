"""Where this project lies and what it runs on."""

import platform
import subprocess
from pathlib import Path

from common.core import threads

PROJECT = Path(__file__).resolve().parents[2]
"""The folder of the scripts, of common/ and of pretrained/."""

PRETRAINED = PROJECT / "pretrained"
"""Where weights lie, unless the command line says otherwise."""


def machine() -> str:
    """The name of the processor and how many cores this process may use, for a person."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {threads.CORES} cores"


def git_commit() -> str | None:
    """The commit of these programs, with `+` where files differ from it; None where git cannot tell."""

    def git(*arguments):
        return subprocess.run(["git", "-C", PROJECT, *arguments], capture_output=True, text=True, timeout=10)

    try:
        commit = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() + ("+" if changes.stdout.strip() else "") if commit.returncode == 0 else None
