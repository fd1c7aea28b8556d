"""The loop around Keras's `fit`, the same for every network: cached features, best weights, resume, health checks."""

import contextlib
import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.core import device
from common.core.errors import UserError
from common.core.files import content_digest
from common.core.keras_backend import allow_tf32, backend_name
from common.core.locks import exclusive_lock
from common.core.messages import note, warn
from common.models import weight_files
from common.training import checks, devices, features, runs
from common.training.batches import ORIENTATIONS, Batches
from common.training.callbacks import Progress, draw_curves, tensorboard
from common.training.job import Learner, Training
from common.training.runs import Best

RESTARTS = 3  # how many other seeds a training tries whose output is dead from the start


class Dead(Exception):
    """From the first epoch on an output is the same for every image."""


def fit(training: Training) -> Best:
    """Run a training and return its best epoch; raises UserError when it went wrong for good."""
    checkpoint, log = training.files.sibling(".lock", ""), training.files.log
    busy = "another training writes these files now; give another folder"
    with exclusive_lock(checkpoint, busy), exclusive_lock(log.with_name(f".lock-{log.name}"), busy):
        return _fit(training)


def _fit(training: Training) -> Best:
    config = training.config
    images = {name: content_digest(paths) for name, paths in training.images.items()}
    targets = {name: content_digest(*columns) for name, columns in training.columns.items()}
    data = {name: f"{images[name]} {targets[name]}" for name in images}
    counts = {f"{name}_pictures": len(paths) for name, paths in training.images.items()}
    path, settings = training.files.sibling("run", ".json"), config.recorded()
    record = runs.Record(path, training.spec.name, settings, {**counts, "digests": data})
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.precision)
    try:
        attempt = None
        while True:
            run = Run(training, images, data, record)
            try:
                best = run.fit(attempt)
                break
            except Dead as dead:
                attempt = run.attempt + 1
                if config.on_dead == "stop" or attempt > RESTARTS:
                    tried = f", as with {run.attempt} other seeds" if config.on_dead == "restart" else ""
                    raise UserError(f"{dead}{tried}; lower --learning_rate, or leave --output_bias at mean") from None
                warn(f"{dead}; starts again with seed {config.seed + attempt}")
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

    def __init__(self, training: Training, digests: dict, data: dict, record: runs.Record):
        super().__init__()
        self.training, self.config, self.files = training, training.config, training.files
        self.digests, self.data, self.record = digests, data, record
        self.best, self.first = Best(), 0
        self.save_state = runs.Throttled(self._save_state)
        self.draw = runs.Throttled(self._draw)

    def fit(self, attempt: int | None = None) -> Best:
        """Train; `attempt` counts the seeds, None where a state that is to be resumed may say it."""
        config = self.config
        state = self._read_state() if config.resume and attempt is None else None
        self.attempt = state[1].get("attempt", 0) if state else attempt or 0
        self.seed = config.seed + self.attempt
        keras.utils.set_random_seed(self.seed)
        strategy = devices.strategy(config)
        with strategy.scope() if strategy else contextlib.nullcontext():
            extractor = self._build(synchronized=strategy is not None)
        if state:
            self._restore(*state)
        train = self._read_images(extractor, strategy.num_replicas_in_sync if strategy else 1)
        self.files.log.parent.mkdir(parents=True, exist_ok=True)
        if not state:
            # From here on a kill costs nothing, and an earlier training's state is gone.
            self._save_state(0)
            self.files.log.unlink(missing_ok=True)
        elif self.files.log.exists():
            runs.trim_log(self.files.log, self.first, (self.best.epoch, self.best.loss))
        callbacks = [keras.callbacks.CSVLogger(str(self.files.log), separator=";", append=True), self]
        callbacks.append(Progress(self, config.epochs, len(train)))
        if config.tensorboard:
            callbacks.append(tensorboard(config.tensorboard))
        self.record.write("running", seed=self.seed)
        if not self._finished(self.first):
            self._keras_fit(train, callbacks)
        self._draw()
        return self.best

    def _read_state(self):
        """Return what `runs.load_state` does, or None where there is none."""
        if self.files.state.is_file():
            return runs.load_state(self.files.state)
        note(f"{self.files.state}: not there, nothing to resume; starts from the first epoch")
        return None

    def _build(self, synchronized):
        """Make the network and its optimizer; return the part that only computes features, or None.

        synchronized: Several devices train it together.
        """
        training, config = self.training, self.config
        model, self.kept = training.build()
        frozen = features.frozen_layers(model)
        if synchronized:
            devices.synchronize(model)
        extractor, learner = (None, model) if config.feature_cache == "off" else features.split(model)
        self.learner = Learner(learner.input, learner.outputs)
        self.learner.set_up(training.optimizer(), [target.output for target in training.targets])
        self.learner.optimizer.build(self.learner.trainable_variables)
        self.variables = [v for layer in model.layers if layer not in frozen for v in layer.variables]
        self.variables += self.learner.optimizer.variables
        fixed = [array for layer in sorted(frozen, key=lambda layer: layer.name) for array in layer.get_weights()]
        self.facts = {"arguments": config.decisive(), "data": self.data, "frozen": content_digest(*fixed)}
        return extractor

    def _read_images(self, extractor, shares):
        """Return the batches of train, for `shares` devices, and make those of valid; of the extractor's features."""
        training, config, spec = self.training, self.config, self.training.spec
        checks.check_memory(spec.name, self.learner, config)
        written = {self.files.checkpoint: self.kept.weights, self.files.state: self.variables}
        checks.check_disk(written)
        inputs = {name: [paths] for name, paths in training.images.items()}
        if extractor:
            folder = config.feature_cache or self.files.checkpoint.parent / "features"
            orientations = {"train": ORIENTATIONS[config.augment], "valid": 1}
            inputs = features.compute(
                extractor, spec.input, training.images, self.digests, Path(folder), config.batch_size, orientations
            )
            note(f"features of the frozen layers: {folder}")
            checks.check_disk(written)  # they may lie on the same one

        def batches(name, **options):
            columns = inputs[name], training.columns[name]
            return Batches(spec.input, *columns, config.batch_size, patch=config.patch, shares=shares, **options)

        train = batches("train", shuffle_seed=self.seed, epoch=self.first, augment=config.augment)
        self.valid = batches("valid")
        if config.accumulate > config.epochs * len(train):
            raise UserError(
                f"--accumulate {config.accumulate}: more than all {config.epochs * len(train)} batches there are, "
                "so that no weight would ever change; lower it"
            )
        return train

    def _keras_fit(self, train, callbacks):
        tf32 = self.config.tf32 == "on"
        if advice := device.training_advice(device.current(), self.config.precision, tf32):
            warn(advice)
        allow_tf32(tf32)
        try:
            if backend_name() != "tensorflow":
                # Makes the metrics.  Else `fit` does, from the first batch, and trains on those read ahead of it twice.
                batch: Any = keras.tree.map_structure(keras.ops.convert_to_tensor, self.valid[0])
                self.learner.test_on_batch(*batch)
            self.learner.fit(
                train,
                validation_data=self.valid,
                callbacks=callbacks,
                epochs=self.config.epochs,
                initial_epoch=self.first,
                shuffle=False,
                verbose=0,  # pyright: ignore[reportArgumentType]  # Keras annotates its default alone
            )
        except (KeyboardInterrupt, SystemExit):
            print(f"\nstopped; {self._kept()}; go on with --resume", file=sys.stderr)
            raise
        except (Dead, UserError):
            raise
        except OSError as error:  # a full disk; atomic_write names its files itself
            problem = f"{error.filename or self.files.log}: {error.strerror or error}"
            raise UserError(f"{problem}; {self._kept()}; go on with --resume") from None
        except Exception:
            if error := train.error or self.valid.error:
                raise error from None
            raise
        finally:
            allow_tf32(False)  # what predicts next in this process
        self._save_state(self.epoch)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Draw the random numbers of an epoch alike after a --resume; begin the epochs that `settle` means."""
        settles = self.config.settle and epoch >= self.config.epochs - self.config.settle
        if settles and epoch in (self.first, self.config.epochs - self.config.settle):
            self.learner.settle()
        if backend_name() == "torch":  # whose Dropout has no state among the variables
            seed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)
            keras.utils.set_random_seed(int(seed[0]))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Check the epoch, keep its weights if they are the best, and write down what --resume and people need."""
        self.epoch, logs = epoch + 1, logs or {}
        checks.check_finite(self.learner, logs, self.epoch, self._kept())
        if message := checks.constant_output(self.learner, self.valid, self.training.labels, logs):
            if self.best.epoch:
                raise UserError(f"epoch {self.epoch}: {message}; {self._kept()}; lower --learning_rate")
            raise Dead(f"epoch {self.epoch}: {message}")
        if logs["val_loss"] < self.best.loss:
            self.best = Best(float(logs["val_loss"]), self.epoch, {key: float(value) for key, value in logs.items()})
            identity = json.dumps({"run": self._identity(), **asdict(self.best)})
            weight_files.save(self.kept, self.files.checkpoint, identity)
        self.save_state(self.epoch)
        self.draw()
        if self._finished(self.epoch):
            self.learner.stop_training = True
            if self.epoch < self.config.epochs:
                note(f"stops after epoch {self.epoch}: none was better than {self.best.epoch}'s (--patience)")

    def _identity(self) -> str:
        """Stands in the checkpoint too, so that a state finds its own best epoch there, and no other training's."""
        text = json.dumps([self.facts, self.attempt], default=str)
        return hashlib.blake2b(text.encode()).hexdigest()[:32]

    def _finished(self, epoch):
        patience = self.config.patience
        return epoch >= self.config.epochs or bool(patience and epoch - self.best.epoch >= patience and epoch)

    def _kept(self):
        kept = f"the best epoch so far, {self.best.epoch}, is kept in {self.files.checkpoint}"
        return kept if self.best.epoch else "no epoch was kept"

    def _save_state(self, epoch):
        arrays = [np.asarray(keras.ops.convert_to_numpy(variable)) for variable in self.variables]
        progress = {"epoch": epoch, "epochs": self.config.epochs, "attempt": self.attempt, "backend": backend_name()}
        runs.save_state(self.files.state, arrays, {**self.facts, **progress})
        if epoch:
            self.record.write("running", epochs=epoch, best=asdict(self.best))

    def _restore(self, arrays, facts):
        state = self.files.state
        if difference := self.config.difference(facts["arguments"]):
            raise UserError(f"{state}: was trained with {difference}; resume with the same")
        if (before := facts.get("epochs", self.config.epochs)) != self.config.epochs:
            decay, settle = self.config.decay, self.config.settle
            problem = f"the learning rate falls until epoch {before} (--decay {decay})" if decay != "none" else ""
            problem = problem or (f"the statistics settle before epoch {before} (--settle {settle})" if settle else "")
            if problem:
                raise UserError(f"{state}: {problem}; resume with --epochs {before}")
        self.facts["arguments"] = facts["arguments"]  # an earlier version's have other names besides
        for name, what in (("data", "images or labels"), ("frozen", "frozen weights")):
            if self.facts[name] != facts[name]:
                before, now = facts.get("backend", "tensorflow"), backend_name()
                # Random weights are other ones on another backend, even from the same seed.
                where = f" on {before}, not {now}," if name == "frozen" and before != now else ""
                raise UserError(f"{state}: was trained{where} with other {what}; train anew with --overwrite")
        if [array.shape for array in arrays] != [tuple(variable.shape) for variable in self.variables]:
            raise UserError(
                f"{state}: holds other weights than {self.training.spec.name}'s; train anew with --overwrite"
            )
        for variable, array in zip(self.variables, arrays):
            variable.assign(array)
        self.first = self.epoch = facts["epoch"]
        with contextlib.suppress(UserError, KeyError, ValueError):
            best = json.loads(weight_files.inspect(self.files.checkpoint).note)
            if best.pop("run") == self._identity():
                self.best = Best(**best)
        if self.first and not self.best.epoch:
            raise UserError(
                f"{self.files.checkpoint}: not the best epoch of the training that {state} goes on with; "
                "put that file back, or train anew with --overwrite"
            )
        self.record.resume()
        note(f"goes on after epoch {self.first} of {self.config.epochs}; best so far: epoch {self.best.epoch}")

    def _draw(self):
        if self.files.log.is_file():
            target, (lines, unit) = self.files.sibling("curves", ".png"), self.training.curves()
            try:
                draw_curves(self.files.log, target, lines, unit, self.training.spec.name)
            except Exception as error:  # a log that another model shares, say: no plot is worth a training
                warn(f"warning: {target}: not drawn ({' '.join(str(error).split())})")
