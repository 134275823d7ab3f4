"""What an objective is, and the registry of objectives. Importing this loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from bench.core.errors import LitmusError
from bench.plugin.registry import Part, Registry

if TYPE_CHECKING:
    from torch import Tensor

    from bench.method import Network
    from bench.network.schedule import Schedule
    from bench.objectives.batch import Batch


@dataclass(frozen=True)
class Needs:
    """What an objective needs beside the batch of training pictures. Pictures are made by the frozen base.

    classes  pictures of the plain class ("a dog") beside each picture of the batch: `batch.classes`
    memory   pictures of `prompts` beside each picture of the batch: `batch.memory`
    prompts  what the memory pictures show, in turn; {} stands for the task's class word
    drawn    pictures of either kind that are made once per block; the batches of a run are shuffled epochs of them
    frozen   the frozen base's network, as the argument `frozen` of the loss, and `batch.frozen_context`
    """

    classes: int = 0
    memory: int = 0
    prompts: tuple[str, ...] = ()
    drawn: int = 40  # ten batches of 4 before a picture is seen again
    frozen: bool = False

    @property
    def beside(self) -> int:
        """Pictures beside each picture of the batch, of all kinds."""
        return self.classes + self.memory

    def said(self) -> str:
        """In words, for lists: `1 class picture`, `frozen base`; `nothing` where there are none."""
        kinds = ((self.classes, "class picture"), (self.memory, "memory picture"))
        parts = [f"{n} {what}{'s' * (n > 1)}" for n, what in kinds if n]
        return ", ".join([*parts, *["frozen base"] * self.frozen]) or "nothing"


@dataclass(frozen=True)
class Objective(Part):
    """What a training step minimises. An instance holds hyperparameters and nothing else.

    Only `loss` must be written. Drawing times, noise and pictures, mixed precision, the mean over the batch and the
    gradient step belong to the harness, which calls the instance itself, `objective(net, batch, schedule, frozen)`.
    """

    paper: ClassVar[str]  # "arXiv:2208.12242, section 3.3"
    formula: ClassVar[str] = ""  # one line of plain text
    # Where it hangs on a hyperparameter, write a property.
    needs: ClassVar[Needs] = Needs()
    # Its loss is about as large as the plain one, by which divergence is then judged; else by its own first loss too.
    plain_scale: ClassVar[bool] = False

    def loss(self, net: Network, batch: Batch, schedule: Schedule, frozen: Network | None = None) -> Tensor:
        """Loss per sample (B,), float32, with a graph to what `net` trains.

        `net` and `frozen` are called as net(xt, t, context) and give the prediction (B, C, h, w), whose kind and target
        are the `schedule`'s; `frozen` is the untouched base, to be called under torch.no_grad(), None where it is not
        asked for. `batch.weight`, where there is one, multiplies each sample's loss. Draws nothing from global streams.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what is minimised: write loss(self, net, ...)")

    def __call__(self, net: Network, batch: Batch, schedule: Schedule, frozen: Network | None = None) -> Tensor:
        """`loss`, after a look whether all that `needs` declares is there: LitmusError where it is not."""
        self.require(batch.classes, batch.memory, frozen)
        return self.loss(net, batch, schedule, frozen)

    def require(self, classes: object, memory: object, frozen: object) -> None:
        """LitmusError where one of these is None and `needs` asks for it."""
        needs = self.needs
        for asked, given, what in (
            (needs.classes, classes, "class pictures"),
            (needs.memory, memory, "memory pictures"),
            (needs.frozen, frozen, "the frozen base"),
        ):
            if asked and given is None:
                raise LitmusError(f"the objective {self.spec} needs {what} (bench.evaluation.references.extras)")


OBJECTIVES: Registry[Objective] = Registry("objective", "bench.objectives", ("name", "paper"), "litmus objectives")
register = OBJECTIVES.register  # the class decorator
