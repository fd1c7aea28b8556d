"""Features of frozen layers on the disk: computed once, shared, and never stale, cut off or too many for the disk."""

import shutil
from collections import namedtuple

import keras
import numpy as np
import pandas as pd
import pytest
import small
from small import log_of

from common.core.errors import UserError
from common.media.images import write_png
from common.training import checks, features


def test_too_little_room_for_features_is_said_before_they_are_computed(rootdir, tmp_path, monkeypatch):
    usage, free = namedtuple("usage", "total used free"), 4 * 7 * 7 * 4 * (6 + 3) - 1  # 7 x 7 x 4 numbers a picture
    monkeypatch.setattr(checks, "check_disk", lambda written: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, free))
    monkeypatch.setattr(features, "batch_map", None)
    with pytest.raises(
        UserError, match=r"features: the features of the frozen layers take 0\.0 MB, .*--feature_cache"
    ) as error:
        small.train(rootdir, tmp_path)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_kept_features_are_used_again_but_never_stale_ones(rootdir, tmp_path):
    root, cache = tmp_path / "root", tmp_path / "cache"
    shutil.copytree(rootdir, root)

    def train(name, build=small.build):
        small.train(root, tmp_path / name, epochs=1, feature_cache=cache, build=build)
        return {file: file.stat().st_mtime_ns for file in cache.iterdir()}

    kept = train("first")
    assert len(kept) == 2 and all(file.suffix == ".npy" for file in kept)  # train and valid, nothing half written
    (root / "train" / "JND-Levels.txt").write_text("30 32 34\n" * 6)  # other labels, same pictures
    assert train("labels") == kept
    write_png(root / "train" / "img2.png", np.zeros((180, 320, 3), np.uint8))  # under its old name
    changed = train("changed")
    assert len(changed) == 3 and changed.items() > kept.items()  # valid is as it was
    other = train("other", small.build_on_others)
    assert len(other) == 5 and other.items() > changed.items()
    assert abs(log_of(tmp_path / "other")["loss"][0] - log_of(tmp_path / "changed")["loss"][0]) > 1e-4


def test_models_share_the_features_that_they_have_in_common(rootdir, tmp_path):
    """As MJ-LAT has LAT's of all levels."""
    settings = {"epochs": 2, "build": small.build_on_both}
    small.train(rootdir, tmp_path / "one", epochs=1, feature_cache=tmp_path / "cache")
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    small.train(rootdir, tmp_path / "both", feature_cache=tmp_path / "cache", **settings)
    both = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    assert len(kept) == 2 and len(both) == 4 and both.items() > kept.items()
    small.train(rootdir, tmp_path / "off", feature_cache="off", **settings)
    pd.testing.assert_frame_equal(log_of(tmp_path / "both"), log_of(tmp_path / "off"), rtol=1e-5)


def test_frozen_layers_that_are_alike_share_their_features(rootdir, tmp_path):
    """As two autoencoders with the same weights do."""
    small.train(rootdir, tmp_path, epochs=1, build=small.build_on_twice_the_same)
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_features_that_were_cut_off_or_changed_are_computed_again_and_that_is_said(rootdir, tmp_path, capsys):
    settings = {"epochs": 1, "overwrite": True, "feature_cache": tmp_path / "cache"}
    small.train(rootdir, tmp_path, **settings)
    kept = {file: file.read_bytes() for file in (tmp_path / "cache").glob("*.npy")}
    file, sound = next(iter(kept.items()))
    middle = len(sound) // 2
    changed = sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :]
    for spoilt in (sound[:-100], changed, b"", sound.replace(b"}", b"\n", 1)):  # NumPy's parser breaks at the last
        file.write_bytes(spoilt)
        assert not capsys.readouterr().err
        small.train(rootdir, tmp_path, **settings)
        assert f"warning: {file}: not as it was written; computed again\n" == capsys.readouterr().err
        assert {file: file.read_bytes() for file in kept} == kept


def test_what_changes_in_training_is_not_kept():
    """A Dropout, and a normalization without weights, have no weight that learns and yet are not frozen."""
    picture = keras.Input((4, 4, 3))
    for layer in (keras.layers.Dropout(0.5), keras.layers.BatchNormalization(center=False, scale=False)):
        frozen = keras.layers.Rescaling(2.0)
        model = keras.Model(picture, layer(frozen(picture)))
        assert layer not in features.frozen_layers(model) and frozen in features.frozen_layers(model)
