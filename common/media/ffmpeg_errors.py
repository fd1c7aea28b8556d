"""What is wrong where ffmpeg fails, in one line, by its log and its exit code."""

import re
import signal

from common.core.errors import UserError

TURNED = "Odd rotation angle"  # in a log: FFmpeg would cut the corners off
DAMAGED = "File ended prematurely|corrupt decoded frame"  # in a log: damage that may not end ffmpeg

# What ffmpeg prints after the line that states the reason.
ECHO = r"Conversion failed|Task finished|Terminating thread|Error opening (in|out)put file|Nothing was written"
# What is wrong with a file, and what to do about other errors, by patterns of the log.
_FAULTS = {
    "matches no streams": "it has no video stream; expected a clip",
    "Video: none|Cannot determine format of input": "no frame of its video can be decoded; expected a clip",
    r"Color spaces:\s+(?:\[error\]\s+)?src: (\S+)|Unsupported input.* csp:(\S+)": (
        "its colours ({}) cannot be read; convert the clip to BT.709 first"
    ),
    TURNED: "its frames are turned by an angle that is not a multiple of 90 degrees; turn the clip upright first",
    "File ended prematurely": "it is cut short; copy the clip again",
    "corrupt (?:input packet|decoded frame)": "parts of it are lost or damaged; copy the clip again",
}
_ADVICE = {
    r"(?:encoder|filter)\W+lib(x264|x265|svtav1|vmaf)\b": (
        "that FFmpeg is built without lib{}, imageio-ffmpeg's has it: point $FFMPEG there"
    ),
    "Unrecognized option|Option not found": "FFmpeg 5.1 or newer is needed, imageio-ffmpeg's is: point $FFMPEG there",
    "No space left on device": "the disk is full: make room, or give another folder",
    "SIGKILL": "is memory short? Try again, or point $FFMPEG to another FFmpeg",
}


def describe_exit(code: int) -> str:
    """Put an exit status into words: "failed (exit code 1)", "was killed by SIGKILL"."""
    return f"failed (exit code {code})" if code > 0 else f"was killed by {signal.Signals(-code).name}"


def failure(task: str, problem: str, log: str, program: str) -> UserError:
    """Return the UserError for an ffmpeg that went wrong, with the last errors in its log and what to do.

    Args:
        task: As in `ffmpeg_process`.
        problem: What went wrong, after the program's name.
        program: The path of ffmpeg.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\[(error|fatal)\]", line)] or lines[-1:]
    words = [re.sub(r"\[[^\]]* @ \w+\] |\[\w+\] ", "", line).strip(" .") for line in errors]
    words = list(dict.fromkeys(word for word in words if not re.match(ECHO, word)))[-2:] or words[-1:]
    said = " / ".join(words)[-400:] or "ffmpeg said nothing"
    if fault := _first_match(_FAULTS, log):
        return UserError(f"{task}: {fault}")
    advice = _first_match(_ADVICE, f"{log}\n{problem}") or "check the file, or point $FFMPEG to another FFmpeg"
    return UserError(f"{task}: {said}; {advice} ({program} {problem})")


def _first_match(table: dict[str, str], text: str) -> str | None:
    """Return the words of the first pattern that is in a text, with the pattern's group in them."""
    matches = ((re.search(pattern, text), words) for pattern, words in table.items())
    return next((words.format(*filter(None, match.groups())) for match, words in matches if match), None)
