"""The best epoch of a training."""

from dataclasses import dataclass, field


@dataclass
class Best:
    """The epoch with the least loss on valid, counted from 1; 0 where there is none yet.

    Args:
        loss: on valid.
        epoch: its number.
        logs: {name as Keras has it: loss or metric}.
    """

    loss: float = float("inf")
    epoch: int = 0
    logs: dict[str, float] = field(default_factory=dict)
