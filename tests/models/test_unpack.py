"""Unpacking an archive of weights: nothing outside its folder, no bomb, all or nothing."""

import stat
import struct
import zipfile

import pytest
from conftest import zipped

from common.core.errors import UserError
from common.models.zenodo import unpack

SOUND = {"WP3/LAT/LATJND1.h5": bytes(range(256)) * 8, "WP3/README.md": b"# How to use these", "WP3/LAT.py": b"print()"}


@pytest.fixture
def refused(tmp_path):
    """Unpack a zip file of these bytes, which must fail with one line and leave nothing, nowhere."""

    def refused(body):
        (tmp_path / "some.zip").write_bytes(body)
        with pytest.raises(UserError) as error:
            unpack(tmp_path / "some.zip", tmp_path / "target")
        assert "\n" not in str(error.value)
        assert [path.name for path in tmp_path.rglob("*")] == ["some.zip"]
        return str(error.value)

    return refused


def member(name, mode=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    return info


OUTSIDE = "would land outside the folder"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("../evil.h5", b"evil", OUTSIDE),
        ("a/../../evil.h5", b"evil", OUTSIDE),
        ("{tmp_path}/evil.h5", b"evil", OUTSIDE),
        ("..\\evil.h5", b"evil", OUTSIDE),
        ("C:evil.h5", b"evil", OUTSIDE),
        ("../evil.txt", b"evil", OUTSIDE),  # refused though it would not be unpacked
        ("evil\x1b[2J.h5", b"evil", "has an odd name"),
        (member("evil.h5", stat.S_IFLNK | 0o777), b"/etc/passwd", "is a link or a device"),
        (member("evil", stat.S_IFLNK | 0o777), b"..", "is a link or a device"),
        (member("evil.h5", stat.S_IFIFO | 0o644), b"", "is a link or a device"),
        ("bomb.h5", bytes(4 << 20), "unpacks from 0.0 MB to 4.2 MB"),
    ],
)
def test_a_hostile_member_condemns_the_archive(refused, tmp_path, name, content, reason):
    if isinstance(name, str):
        name = name.format(tmp_path=tmp_path)
    message, name = refused(zipped({**SOUND, name: content})), getattr(name, "filename", name)
    assert message == f"some.zip: member {name!r} {reason}; nothing was unpacked"


def patched(body, field, value, form="<I"):
    """A zip file whose last entry in the central directory says `value` at offset `field`."""
    body = bytearray(body)
    struct.pack_into(form, body, body.rindex(b"PK\1\2") + field, value)
    return bytes(body)


def test_archives_that_lie_or_are_damaged(refused):
    sound = zipped({**SOUND, "z.h5": bytes(range(256)) * 8})
    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 1
    for body, reason in (
        (patched(sound, 24, 5000), "damaged, or no zip file ('z.h5' holds 2048 bytes and says 5000)"),
        (patched(sound, 24, 100), "damaged, or no zip file (Bad CRC-32 for file 'z.h5')"),
        (patched(sound, 24, 2 << 30), "member 'z.h5' unpacks from 0.0 MB to 2,147.5 MB"),
        (patched(patched(sound, 24, 2 << 30), 20, 2 << 30), "member 'z.h5' unpacks from 2,147.5 MB to 2,147.5 MB"),
        (patched(sound, 8, 1, "<H"), "member 'z.h5' is encrypted"),
        (bytes(damaged), "damaged, or no zip file ("),
        (b"<html>no zip</html>", "damaged, or no zip file (File is not a zip file)"),
        (zipped({"a/x.h5": b"1", "A/X.h5": b"2"}), "two members of one name"),
        (zipped({"x.h5": b"1", "x.h5/y.h5": b"2"}), "two members of one name"),
        (zipped({"inner.zip": b"", "README": b""}), "no .h5 file in it, it holds inner.zip, README"),
    ):
        message = refused(body)
        assert message.startswith(f"some.zip: {reason}") and message.endswith("; nothing was unpacked")
