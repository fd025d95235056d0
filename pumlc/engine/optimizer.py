"""Optimizer and learning-rate schedule of a run."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from pumlc.engine.config import TrainConfig


@runtime_checkable
class UpdatesItself(Protocol):
    """A module that updates its own parameters, which have no gradient."""

    rate_factor: float

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Of a torch module."""
        ...

    def follow(self, group: Callable[[], dict[str, Any]]) -> None:
        """Take learning rate and decays from a group of the optimizer, now and later."""
        ...


def create_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of the trainable parameters.

    The parameters that a module with an attribute ``rate_factor`` holds itself learn that many
    times faster, without weight decay. Modules that update themselves (`UpdatesItself`) have a
    group too, which the schedule moves, but which the optimizer finds without a gradient.
    """
    rate, decay = config.learning_rate, config.weight_decay
    factors = {
        parameter: float(module.rate_factor)  # type: ignore[reportArgumentType]
        for module in model.modules()
        if hasattr(module, "rate_factor")
        for parameter in module.parameters(recurse=False)
    }
    alone = {
        parameter: module
        for module in model.modules()
        if isinstance(module, UpdatesItself)
        for parameter in module.parameters(recurse=False)
    }
    trainable = [p for p in model.parameters() if p.requires_grad or p in alone]
    others = [p for p in trainable if p not in factors]
    groups: list[dict[str, Any]] = [{"params": others}] if others else []
    groups += [
        {"params": [p], "lr": rate * factors[p], "weight_decay": 0.0}
        for p in trainable
        if p in factors
    ]
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(groups, lr=rate, momentum=0.9, weight_decay=decay)
    else:
        kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
        optimizer = kind(groups, lr=rate, weight_decay=decay)
    for parameter, module in alone.items():
        module.follow(partial(_group_of, parameter, optimizer))
    return optimizer


def _group_of(parameter: nn.Parameter, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The group of a parameter as it is now: a resumed optimizer has others."""
    groups = optimizer.param_groups
    return next(group for group in groups if any(p is parameter for p in group["params"]))


def create_schedule(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning-rate schedule over ``schedule_epochs`` (by default ``epochs``) epochs."""
    steps = (config.schedule_epochs or config.epochs) * steps_per_epoch
    if config.schedule == "one-cycle" and steps == 1:  # PyTorch would take its last rate, nearly 0
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    if config.schedule == "one-cycle":
        # cycles the first Adam moment too, as the published run did (PyTorch's default)
        warmup = config.warmup
        if warmup * steps == 1:  # PyTorch divides by the end of the warm-up, 0 for one step
            warmup *= 1 + 1e-6
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[group["lr"] for group in optimizer.param_groups],
            total_steps=steps,
            pct_start=warmup,
        )
    if config.schedule == "constant":
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    warmup = round(config.warmup * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (steps - step) / max(1, steps - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def resume_optimizer(state: dict[str, Any], schedule: LRScheduler, steps: int) -> None:
    """Go on with the state of an optimizer, at the place of the schedule after some steps.

    Args:
        state: of an optimizer of the same parameters.
        schedule: new, with its optimizer, which takes over the state. It may be longer than the
            schedule that the state comes from: the rate is then its own at this place.
        steps: steps of the schedule that were taken.
    """
    optimizer = schedule.optimizer
    own = [dict(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, before in zip(optimizer.param_groups, own, strict=True):
        # what this schedule has noted there, and no longer that of the earlier one
        group.update({name: value for name, value in before.items() if name != "params"})
    if steps:  # its step computes the rate from their number alone
        schedule.last_epoch = steps - 1
        schedule._step_count = steps + 1  # or it would miss a step of the optimizer
        schedule.step()


def clip_gradient(network: nn.Module, norm: float | None, accelerator: Accelerator) -> Tensor:
    """Clip the gradient to ``norm``, if it is not None; return its norm before."""
    parameters = [p for p in network.parameters() if p.grad is not None]
    if norm is not None:
        found = accelerator.clip_grad_norm_(parameters, norm)
        assert found is not None
        return found
    accelerator.unscale_gradients()
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
