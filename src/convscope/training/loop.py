"""The training loop: a generator of events, resumable at any step with the same result to the last bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from convscope.data.augment import STEP, random_bits
from convscope.errors import NumericsError
from convscope.kept_memory import keeping_memory
from convscope.models.weights import freeze_all_but_head, head_name
from convscope.ranks import ALONE, Ranks
from convscope.training.batches import Batches
from convscope.training.engine import (
    Engine,
    engine_by_rule,
    place,
    select_device,
    training_forward,
    training_kernels,
)
from convscope.training.evaluate import Stopped, evaluate
from convscope.training.film import Recorder
from convscope.training.meter import Meter, advice
from convscope.training.optimizers import DenseOptimizer
from convscope.training.schedule import Span, learning_rate, plan
from convscope.training.state import TrainingState, share_start
from convscope.training.suited import suit_model
from convscope.training.whitening import PatchWhitening, image_convolution
from convscope.types import Dataset, Event, EventKind, Network, Recipe

TRAIN_EVENT_STEPS = 10
"""Steps between two "train" events; as often the losses are fetched from the device and looked at."""

CONFUSION_CLASSES = 100
"""Up to so many classes, each "eval" event tells how often each is taken for each."""


Save = Callable[[TrainingState], dict[str, Any]]
"""Makes model and state durable and returns what the "checkpoint" event says of it."""


@keeping_memory
def train(
    model: nn.Module,
    dataset: Dataset,
    recipe: Recipe,
    *,
    device: torch.device | str = "auto",
    engine: Engine | None = None,
    state: TrainingState | None = None,
    save: Save | None = None,
    save_seconds: float = 60.0,
    film: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Train the model in place by the recipe, and yield an event whenever something happened.

    `device` is one, or its name, or "auto"; `engine` is what the recipe says unless it is given. What the model does
    not allow is left out of the recipe (see `suit_model`); the "phase" events tell what is done.
    `state` goes on from an earlier training whose weights the model has. `save` is called at the start, at the
    end of each epoch and phase, after `save_seconds` without, and once `should_stop` turns true. `film` is the
    run folder in which to film the training. Of several `ranks` each is given the same and computes its share of
    every batch; only the leader has `state`, `save` and `film`.
    Raises NumericsError, before anything more is saved, when a loss or a weight is no longer finite.
    """
    device = select_device(device) if isinstance(device, str) else device
    recipe = suit_model(recipe, model, dataset)
    engine = engine or engine_by_rule(recipe, device)
    if not ranks.alone:
        state, engine = share_start(model, state, engine, ranks)
    at = state or TrainingState()
    place(model, device, engine.memory_format)
    network = Network(model, dataset.mean, dataset.std, dataset.image_size, dataset.class_names, name=recipe.model)
    batches = Batches(dataset, recipe, device=device, ranks=ranks)
    spans = plan(recipe, steps_per_epoch=batches.steps_per_epoch)
    total = spans[-1].last
    started = time.monotonic() - at.seconds
    recorder = Recorder(film, network, dataset, spans) if film else None
    if recipe.freeze:
        freeze_all_but_head(model)
    forward = training_forward(model, engine, device, ranks)
    kernels = training_kernels(model, engine, device)
    evaluated = partial(evaluate, network, device=device, memory_format=engine.memory_format, ranks=ranks)

    def event(kind: EventKind, **data: Any) -> Event:
        at.seconds = time.monotonic() - started
        return Event(kind, at.step, round(at.seconds, 3), data)

    def checkpoint(span: Span, optimizer: DenseOptimizer) -> Iterator[Event]:
        if save is not None:
            at.phase, at.optimizer = span.number, optimizer.state()
            _check_finite(model, at)
            at.seconds = time.monotonic() - started
            yield event("checkpoint", **save(at))

    def frame() -> Iterator[Event]:
        if recorder and recorder.due(at.step, seconds=time.monotonic() - started):
            for kind, data in recorder.take(at.step):
                yield event(kind, **data)

    yield event(
        "start",
        resumed=state is not None,
        steps=total,
        steps_per_epoch=batches.steps_per_epoch,
        optimizers=[span.phase.optimizer for span in spans],
    )
    stream = batches.stream(at.step, total)
    meter = Meter(ranks)
    saved = time.monotonic()
    for span in spans:
        if at.step >= span.last:
            continue
        beginning = image_convolution(model, dataset) if span.phase.whitened else None
        whitening = PatchWhitening(beginning, dataset) if beginning else None
        optimizer = DenseOptimizer(model, span.phase, whitening=whitening)
        if at.phase == span.number:
            optimizer.load_state(at.optimizer)
        else:
            yield event("phase", **_describe(span, steps_per_epoch=batches.steps_per_epoch))
        if state is None and at.step == 0:
            yield from frame()
            yield from checkpoint(span, optimizer)
        _set_modes(model, freeze=recipe.freeze)

        for step in range(at.step, span.last):
            inputs, labels = next(stream)  # (B, 3, H, W), (B,)
            rate = learning_rate(span, step)
            seed = int(random_bits(1, recipe.seed, step, STEP)[0] >> 1)
            share = len(labels) / recipe.batch_size  # where ranks do not divide the batch, some have an image more
            with kernels:
                loss, correct = update(
                    forward,
                    optimizer,
                    inputs,
                    labels,
                    rate=rate,
                    seed=seed,
                    label_smoothing=recipe.label_smoothing,
                    weight=share * ranks.count,  # the mean of the ranks' gradients is then that of the batch
                )
            meter.add(loss * share, correct, images=recipe.batch_size)
            at.step = step + 1
            yield from frame()

            stop = late = False
            if ranks.alone or at.step % TRAIN_EVENT_STEPS == 0:  # to agree takes the ranks' time
                stop, late = ranks.agree(should_stop(), time.monotonic() - saved > save_seconds)
            epoch_ends = at.step % batches.steps_per_epoch == 0
            save_due = epoch_ends or at.step == span.last or stop or late
            eval_due = at.step % recipe.eval_every == 0 if recipe.eval_every else epoch_ends
            eval_due = eval_due or at.step == total
            if not (save_due or eval_due or at.step % TRAIN_EVENT_STEPS == 0):
                continue

            where = f"phase {span.number + 1}, {span.phase.optimizer}, learning rate {rate:g}"
            loss_sum, right, images, speed = meter.close(step=at.step, phase=span.number, where=where)
            at.epoch_loss += loss_sum
            at.epoch_correct += right
            at.epoch_images += images
            position = {"epoch": at.step / batches.steps_per_epoch, "phase": span.number}
            yield event(
                "train",
                **position,
                loss=loss_sum / images,
                accuracy=right / images,
                learning_rate=rate,
                images_per_second=speed,
            )
            if eval_due:
                test = evaluated(dataset.test, precision=engine.precision)
                if not math.isfinite(test.loss):
                    raise NumericsError(
                        f"the test loss is {test.loss} after step {at.step} ({where}); {advice(span.number)}",
                        step=at.step,
                    )
                yield event(
                    "eval",
                    **position,
                    train_loss=at.epoch_loss / at.epoch_images,
                    train_accuracy=at.epoch_correct / at.epoch_images,
                    test_loss=test.loss,
                    test_accuracy=test.accuracy,
                    confusion=test.confusion.tolist() if len(dataset.class_names) <= CONFUSION_CLASSES else None,
                )
            if epoch_ends:
                at.epoch_loss, at.epoch_correct, at.epoch_images = 0.0, 0, 0
            if save_due:
                yield from checkpoint(span, optimizer)
                saved = time.monotonic()
            if stop and at.step < total:
                yield event("end", reason="interrupted")
                return
            meter.restart()

    final: dict[str, float] = {}
    try:
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            found = evaluated(split, should_stop=should_stop)
            final |= {f"{name}_loss": found.loss, f"{name}_accuracy": found.accuracy}
    except Stopped:
        yield event("end", reason="interrupted")
    else:
        yield event("end", reason="finished", **final)


def update(
    forward: Callable[[Tensor], Tensor],
    optimizer: DenseOptimizer,
    inputs: Float32[Tensor, "B 3 H W"],
    labels: Int64[Tensor, " B"],
    *,
    rate: float,
    seed: int,
    label_smoothing: float,
    weight: float = 1.0,
) -> tuple[Float32[Tensor, ""], Int64[Tensor, ""]]:
    """One optimizer step; returns the batch's mean cross-entropy and its number of right answers, both 0-d."""
    # Dropout and its like draw from torch's generators: a seed of the step's own makes them pure functions too.
    with torch.random.fork_rng(devices=[inputs.device] if inputs.is_cuda else []):
        torch.manual_seed(seed)
        logits = forward(inputs)  # (B, classes)
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        (loss * weight).backward()
        optimizer.step(learning_rate=rate)
    logits = logits.detach()
    if label_smoothing:  # what is told is the loss against the true labels, as it is for the test images
        loss = F.cross_entropy(logits, labels)
    return loss.detach(), (logits.argmax(1) == labels).sum()


def _set_modes(model: nn.Module, *, freeze: bool) -> None:
    """Training mode; with a frozen body only for the head, so that the body's batch statistics stay too."""
    model.train(not freeze)
    if freeze:
        model.get_submodule(head_name(model)).train()


def _check_finite(model: nn.Module, at: TrainingState) -> None:
    """Raise NumericsError where a weight, or what the optimizer remembers of one, cannot be gone on from."""
    remembered = {f"the optimizer's {name}": values for name, values in at.tensors().items()}
    for name, values in {**model.state_dict(), **remembered}.items():
        if values.is_floating_point() and not values.isfinite().all():
            raise NumericsError(
                f"{name} is no longer finite after step {at.step}; {advice(at.phase or 0)}", step=at.step
            )


def _describe(span: Span, *, steps_per_epoch: int) -> dict[str, Any]:
    """What the "phase" event says."""
    return {
        "index": span.number,
        "optimizer": span.phase.optimizer,
        "learning_rate": span.phase.learning_rate,
        "schedule": span.phase.schedule,
        "resolution": span.phase.resolution,
        "whitened": span.phase.whitened,
        "first_step": span.first,
        "last_step": span.last,
        "epoch": span.first / steps_per_epoch,
    }
