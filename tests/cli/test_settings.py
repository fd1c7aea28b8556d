"""Flags become settings: none is lost on the way, and settings given in Python are checked as flags are."""

import argparse
from dataclasses import fields

import pytest

from common import list_models
from common.cli import script_flags
from common.encoding.config import EncodingConfig
from common.models.registry import get_model
from common.prediction.config import PredictionConfig
from common.prediction.export import ExportConfig
from common.prediction.testing import TestConfig
from common.training.config import TrainingConfig

CONFIGS = {
    "train": [TrainingConfig],
    "test": [TestConfig],
    "predict": [PredictionConfig, EncodingConfig],
    "export": [ExportConfig],
}
# What the command line uses itself, before or beside a configuration.
OWN = {"help", "head", "jnd_column", "backend", "input_size", "inputs", "output", "format", "encode", "coded_level"}


@pytest.mark.parametrize("command", CONFIGS)
def test_every_flag_is_a_setting(command):
    known = OWN | {field.name for config in CONFIGS[command] for field in fields(config)}
    parser = argparse.ArgumentParser()
    for group in (["LAT"], ["MT_3LJND", "MT_1LJND_VA"], list_models("E2E-*")[:1]):
        parser = argparse.ArgumentParser()
        getattr(script_flags, f"{command}_flags")(parser, [get_model(name) for name in group])
        assert {action.dest for action in parser._actions} <= known


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"level": "JND4"}, "level 'JND4': expected None, JND1, JND2, JND3"),
        ({"label_unit": "qp"}, "label_unit 'qp': expected QP, QF"),
        ({"output_bias": "median"}, "output_bias 'median': expected mean, zero"),
        ({"epochs": -1}, "epochs -1: expected at least 0"),
        ({"accumulate": 0}, "accumulate 0: expected at least 1"),
        ({"input_size": (64,)}, r"input_size \(64,\): expected \(height, width\)"),
    ],
)
def test_a_setting_that_is_not_possible_is_refused(settings, line):
    with pytest.raises(ValueError, match=line):
        TrainingConfig(data_dir="ROOT", checkpoint_path="C", **settings)


def test_a_level_is_a_name_or_its_number():
    assert TrainingConfig(data_dir="ROOT", checkpoint_path="C", level=2).level == "JND2"


def test_a_setting_that_an_earlier_version_did_not_have_had_its_default():
    config = TrainingConfig(data_dir="ROOT", checkpoint_path="C", batch_size=8, attention_weight=0.5)
    before = {"batch_size": 8, "level": 1, "jnd_value": None, "head": "LAT"}
    assert config.difference(before) == "--jnd_value JND1, not None"
    assert config.difference({**before, "level": None}) == "--attention_weight 1.0, not 0.5"
