"""The loop around `fit`, the same for every network: frozen features, best weights, resume, and what goes wrong."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import keras

from common.core import files, locks
from common.core.errors import UserError
from common.models import weight_files
from common.training import curves, devices, features, health_checks, memory, runs
from common.training.batches import Batches
from common.training.callbacks import Progress, tensorboard

RESTARTS = 3  # how many other seeds a training tries whose output is dead from the start


@dataclass
class Training:
    """What is trained, on what, and where it goes.

    name: of the model, for people.
    build: returns (the network that learns, the part of it whose weights are kept), freshly made, not compiled.
    compile: returns the keyword arguments of Keras's `compile`, all but the optimizer.
    pictures, targets: {"train": ..., "valid": ...}: paths, and a column an output as common.training.batches.Batches takes it.
    input: how pictures are decoded, a common.media.images.InputFormat.
    checkpoint: the weight file of the best epoch; its folder takes the state, the record and the curves too.
    log: CSV of the losses, separator ";".
    label: in the names of these files, such as JND1.
    levels: {name of an output that gives a level: labels of valid (N, 1)}; they must not be one answer for all.
    curves: {title: (column of the log for train, for valid, the floor or None)}, and the errors' unit.
    patch: see Batches.
    """

    name: str
    build: Callable
    compile: Callable
    pictures: dict
    targets: dict
    input: Any
    checkpoint: Path
    log: Path
    label: str
    curves: dict
    unit: str
    levels: dict = field(default_factory=dict)
    patch: tuple | None = None

    def beside(self, kind, suffix):
        """A file beside the checkpoint: the state, the record, the curves."""
        return Path(self.checkpoint).with_name(f"{kind}{self.label}{suffix}")


@dataclass
class Best:
    """The best epoch, counted from 1; 0 where there is none yet."""

    loss: float = float("inf")
    epoch: int = 0
    logs: dict = field(default_factory=dict)


class Dead(Exception):
    """From the first epoch on an output has one answer for every picture."""


def fit(training, options):
    """Train as `options` say, which common.cli.flags.training_flags made, and return the Best.

    Raises UserError when the training went wrong for good.
    """
    log = Path(training.log)
    with locks.exclusive_lock(training.beside(".lock", "")), locks.exclusive_lock(log.with_name(f".lock-{log.name}")):
        return _fit(training, options)


def _fit(training, options):
    pictures = {name: files.content_digest(paths) for name, paths in training.pictures.items()}
    targets = {name: files.content_digest(*columns) for name, columns in training.targets.items()}
    data = {name: f"{pictures[name]} {targets[name]}" for name in pictures}
    counts = {f"{name}_pictures": len(paths) for name, paths in training.pictures.items()}
    record = runs.Record(training.beside("run", ".json"), training.name, options, {**counts, "digests": data})
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(options.precision)
    try:
        attempt = None
        while True:
            run = Run(training, options, pictures, data, record)
            try:
                best = run.fit(attempt)
                break
            except Dead as dead:
                attempt = run.attempt + 1
                if options.on_dead == "stop" or attempt > RESTARTS:
                    tried = f", as with {run.attempt} other seeds" if options.on_dead == "restart" else ""
                    raise UserError(f"{dead}{tried}; lower --learning_rate, or leave --output_bias at mean") from None
                print(f"{dead}; starts anew with seed {options.seed + attempt}", file=sys.stderr)
        record.write("finished", best=asdict(best))
        return best
    except BaseException as error:
        if record.began:  # else the file is an earlier training's
            with contextlib.suppress(OSError):  # the disk may be what is wrong
                record.write("interrupted" if isinstance(error, KeyboardInterrupt | SystemExit) else f"failed: {error}")
        raise
    finally:
        keras.config.set_dtype_policy(policy)


class Run(keras.callbacks.Callback):
    """One training from one seed; as a callback, what follows each epoch."""

    def __init__(self, training, options, pictures, data, record):
        super().__init__()
        self.training, self.options, self.record = training, options, record
        self.pictures, self.data = pictures, data
        self.state = training.beside("state", ".npz")
        self.best, self.first = Best(), 0
        self.save_state = runs.Throttled(self._save_state)
        self.draw = runs.Throttled(self._draw)

    def fit(self, attempt=None):
        """Train; `attempt` counts the seeds, None where a state that is to be resumed may say it."""
        training, options = self.training, self.options
        arrays, facts = None, {}
        if options.resume and attempt is None:
            if self.state.is_file():
                arrays, facts = runs.load_state(self.state)
            else:
                print(f"{self.state}: not there, nothing to resume; starts from the first epoch")
        self.attempt = facts.get("attempt", attempt or 0)
        keras.utils.set_random_seed(options.seed + self.attempt)
        strategy = devices.strategy(options)
        shares = strategy.num_replicas_in_sync if strategy else 1
        with strategy.scope() if strategy else contextlib.nullcontext():
            model, self.kept = training.build()
            frozen = features.frozen_layers(model)
            if strategy:
                devices.synchronize(model)
            extractor, learner = (None, model) if options.feature_cache == "off" else features.split(model)
            steps = options.accumulate if options.accumulate > 1 else None
            learner.compile(
                keras.optimizers.Adam(options.learning_rate, gradient_accumulation_steps=steps), **training.compile()
            )
            learner.optimizer.build(learner.trainable_variables)
        self.variables = [v for layer in model.layers if layer not in frozen for v in layer.variables]
        self.variables += learner.optimizer.variables
        fixed = [array for layer in sorted(frozen, key=lambda layer: layer.name) for array in layer.get_weights()]
        self.facts = {"arguments": _deciding(options), "data": self.data, "frozen": files.content_digest(*fixed)}
        # In the checkpoint too, so that a state finds its own best epoch there, and no other training's.
        self.identity = hashlib.blake2b(json.dumps([self.facts, self.attempt], default=str).encode()).hexdigest()[:32]
        if arrays is not None:
            self._restore(arrays, facts)
        memory.check(training.name, learner, training.patch, options)
        written = {training.checkpoint: self.kept.weights, self.state: self.variables}
        memory.check_disk(written)

        inputs = {name: [paths] for name, paths in training.pictures.items()}
        if extractor:
            folder = options.feature_cache or training.checkpoint.parent / "features"
            where = training.input, training.pictures, self.pictures, folder, options.batch_size
            inputs = features.compute(extractor, *where)
            print(f"features of the frozen layers: {folder}")
            memory.check_disk(written)  # they may lie on the same one

        def batches(name, **how):
            columns = inputs[name], training.targets[name]
            return Batches(training.input, *columns, options.batch_size, patch=training.patch, shares=shares, **how)

        train = batches("train", shuffle_seed=options.seed + self.attempt, epoch=self.first)
        self.valid = batches("valid")
        if options.accumulate > options.epochs * len(train):
            raise UserError(
                f"--accumulate {options.accumulate}: more than all {options.epochs * len(train)} batches there are, "
                "so that no weight would ever change; lower it"
            )
        training.log.parent.mkdir(parents=True, exist_ok=True)
        if arrays is None:
            # From here on a kill costs nothing, and an earlier training's state is gone.
            self._save_state(0)
            training.log.unlink(missing_ok=True)
        elif training.log.exists():
            runs.trim_log(training.log, self.first, (self.best.epoch, self.best.loss))
        callbacks = [keras.callbacks.CSVLogger(str(training.log), separator=";", append=True), self]
        callbacks.append(Progress(self, options.epochs, len(train)))
        if options.tensorboard:
            callbacks.append(tensorboard(options.tensorboard))
        self.record.write("running", seed=options.seed + self.attempt)
        if not self._finished(self.first):
            self._keras_fit(learner, train, callbacks)
        self._draw()
        return self.best

    def _keras_fit(self, learner, train, callbacks):
        how = {"epochs": self.options.epochs, "initial_epoch": self.first, "shuffle": False, "verbose": 0}
        try:
            learner.fit(train, validation_data=self.valid, callbacks=callbacks, **how)
        except (KeyboardInterrupt, SystemExit):
            print(f"\nstopped; {self._kept()}; go on with --resume", file=sys.stderr)
            raise
        except (Dead, UserError):
            raise
        except OSError as error:  # a full disk; atomic_write names its files itself
            problem = f"{error.filename or self.training.log}: {error.strerror or error}"
            raise UserError(f"{problem}; {self._kept()}; go on with --resume") from None
        except Exception:
            if error := train.error or self.valid.error:
                raise error from None
            raise
        self._save_state(self.epoch)

    def on_epoch_end(self, epoch, logs=None):
        """Judge the epoch, keep its weights if they are the best, and write down what --resume and people need."""
        self.epoch = epoch + 1
        health_checks.numbers(self.model, logs, self.epoch, self._kept())
        if message := health_checks.one_answer(self.model, self.valid, self.training.levels, logs):
            if self.best.epoch:
                raise UserError(f"epoch {self.epoch}: {message}; {self._kept()}; lower --learning_rate")
            raise Dead(f"epoch {self.epoch}: {message}")
        if logs["val_loss"] < self.best.loss:
            self.best = Best(float(logs["val_loss"]), self.epoch, {key: float(value) for key, value in logs.items()})
            note = json.dumps({"run": self.identity, **asdict(self.best)})
            weight_files.save(self.kept, self.training.checkpoint, note)
        self.save_state(self.epoch)
        self.draw()
        if self._finished(self.epoch):
            self.model.stop_training = True
            if self.epoch < self.options.epochs:
                print(f"stops after epoch {self.epoch}: none was better than {self.best.epoch}'s (--patience)")

    def _finished(self, epoch):
        patience = self.options.patience
        return epoch >= self.options.epochs or bool(patience and epoch - self.best.epoch >= patience and epoch)

    def _kept(self):
        kept = f"the best epoch so far, {self.best.epoch}, is kept in {self.training.checkpoint}"
        return kept if self.best.epoch else "no epoch was kept"

    def _save_state(self, epoch):
        arrays = [keras.ops.convert_to_numpy(variable) for variable in self.variables]
        progress = {"epoch": epoch, "attempt": self.attempt}
        runs.save_state(self.state, arrays, {**self.facts, **progress})
        if epoch:
            self.record.write("running", epochs=epoch, best=asdict(self.best))

    def _restore(self, arrays, facts):
        for name, value in self.facts["arguments"].items():
            if value != (before := facts["arguments"].get(name)):
                raise UserError(f"{self.state}: was trained with --{name} {before}, not {value}; resume with the same")
        for name, what in (("data", "pictures or labels"), ("frozen", "frozen weights")):
            if self.facts[name] != facts[name]:
                raise UserError(f"{self.state}: was trained with other {what}; train anew with --overwrite")
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in self.variables]:
            raise UserError(
                f"{self.state}: holds other weights than {self.training.name}'s; train anew with --overwrite"
            )
        for variable, array in zip(self.variables, arrays):
            variable.assign(array)
        self.first = self.epoch = facts["epoch"]
        with contextlib.suppress(OSError, KeyError, ValueError), h5py.File(self.training.checkpoint) as file:
            note = json.loads(file.attrs["training"])
            if note.pop("run") == self.identity:
                self.best = Best(**note)
        if self.first and not self.best.epoch:
            raise UserError(
                f"{self.training.checkpoint}: not the best epoch of the training that {self.state} goes on with; "
                "put that file back, or train anew with --overwrite"
            )
        self.record.resume()
        print(f"goes on after epoch {self.first} of {self.options.epochs}; best so far: epoch {self.best.epoch}")

    def _draw(self):
        if self.training.log.is_file():
            target = self.training.beside("curves", ".png")
            try:
                curves.draw(self.training.log, target, self.training.curves, self.training.unit, self.training.name)
            except Exception as error:  # a log that another model shares, say: no picture is worth a training
                print(f"warning: {target}: not drawn ({' '.join(str(error).split())})", file=sys.stderr)


def _deciding(options):
    """The arguments that decide what a training computes; where files lie and when it ends do not."""
    free = "checkpoint_path csv_log_path data_dir backbone_path start_from vgg_weights epochs patience overwrite resume"
    free += " feature_cache devices tensorboard command on_dead"
    return {key: value for key, value in sorted(vars(options).items()) if key not in free.split()}
