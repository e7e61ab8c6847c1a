"""A training described in full: what a recipe file may say, with types and bounds."""

from __future__ import annotations

from typing import Literal, Optional, Union

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..qat.backends import BACKENDS, backend
from ..qat.forms import METHODS
from ..qat.observers import OBSERVERS
from .methods import ACTIVATION_METHODS, WEIGHT_METHODS
from .models import NETS


class Part(BaseModel):
    """A part of a recipe: no unknown keys, no conversion of types, not changed once made."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, populate_by_name=True
    )


class Data(Part):
    """Which images, and what is done to those that are trained on.

    ``name``: ``cifar10``, ``mnist``, or ``digits``, scikit-learn's in colour. The rest is as in
    :class:`~paddle_custom_quant.training.data.Augmentation`.
    """

    name: Literal["cifar10", "mnist", "digits"] = "cifar10"
    pad: int = Field(default=4, ge=0, le=16)
    flip: bool = True
    cutout: int = Field(default=0, ge=0, le=32)


class Optimizer(Part):
    """Momentum, for all stages; ``weight_decay`` is on every parameter of the net."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)


class Schedule(Part):
    """How the learning rate goes on in a stage; all times are in epochs.

    ``warmup``: from nothing up to the full rate in so many epochs. ``cosine``: half a cosine down
    to ``final`` times the rate. ``step``: times ``factor`` at each epoch in ``at``. ``plateau``:
    times ``factor`` after ``patience`` epochs without a lower training loss.
    """

    kind: Literal["constant", "cosine", "step", "plateau"] = "cosine"
    warmup: float = Field(default=0.0, ge=0)
    final: float = Field(default=0.0, ge=0, le=1)
    at: list[float] = Field(default_factory=list)
    factor: float = Field(default=0.1, gt=0, le=1)
    patience: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> Schedule:
        if (self.kind == "step") != bool(self.at):
            raise ValueError(
                f"a schedule of kind {self.kind!r} with at = {self.at}: 'step', and that alone, "
                "needs the epochs at which the rate falls."
            )
        if sorted(self.at) != self.at:
            raise ValueError(f"at must rise, got {self.at}.")
        return self


class Stage(Part):
    """A stretch of training with one optimizer state.

    ``pad``: of its images, in place of the one in ``data``.
    """

    epochs: float = Field(gt=0, le=10_000)
    learning_rate: float = Field(gt=0)
    schedule: Schedule = Schedule()
    pad: Optional[int] = Field(default=None, ge=0, le=16)

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Stage:
        if self.schedule.warmup > self.epochs:
            raise ValueError(
                f"warmup takes {self.schedule.warmup} epochs of a stage of {self.epochs}."
            )
        return self


class Float(Stage):
    """Training of the float net.

    ``seed``: of the stages without quantizers, in place of the training's own: every training in
    ``seeds`` then starts from the same float net.
    """

    seed: Optional[int] = Field(default=None, ge=0, lt=2**31)


class Constrain(Stage):
    """Float training with weights and layer inputs clipped, before quantized training.

    ``weights``: bound in multiples of E|w|, never above max|w|. ``outputs``: bound of what layers
    hand on.
    """

    weights: float = Field(default=7.0, gt=0)
    outputs: float = Field(default=8.0, gt=0)


class Quantized(Stage):
    """Training with quantizers in place.

    ``epochs`` may be 0: quantizers get their start values from data and nothing is trained.
    ``quantizer_learning_rate``: of the quantizers' own parameters; the net's if left out.
    ``calibration``: batches that start values are taken from; ``observer``: what chooses the range
    of each activation from them, the method itself if left out. ``freeze_bn``: the epoch from which
    batch normalisation uses its running statistics; ``reestimate_bn``: batches that they are taken
    from anew at the end. ``collapse_after``: steps after which top-1 must be above chance.
    """

    epochs: float = Field(ge=0, le=10_000)
    quantizer_learning_rate: Optional[float] = Field(default=None, gt=0)
    calibration: int = Field(default=2, ge=1)
    observer: Optional[Literal[tuple(OBSERVERS)]] = None  # type: ignore[valid-type]
    freeze_bn: Optional[float] = Field(default=None, ge=0)
    reestimate_bn: int = Field(default=0, ge=0)
    collapse_after: int = Field(default=200, ge=1)


class Weights(Part):
    """Quantizers of weights.

    ``per_channel``: each output channel has a range of its own; not in the first and last layer.
    """

    method: Literal[tuple(WEIGHT_METHODS)]  # type: ignore[valid-type]
    bits: int = Field(ge=1, le=16)
    per_channel: bool = False


class Activations(Part):
    """Quantizers of layer inputs.

    ``signed``: whether they have levels below zero; ``auto`` decides by what comes before each.
    """

    method: Literal[tuple(ACTIVATION_METHODS)]  # type: ignore[valid-type]
    bits: int = Field(ge=1, le=16)
    signed: Union[bool, Literal["auto"]] = "auto"


class Rule(Part):
    """Bits of the layers that a pattern names, in place of the others'."""

    weight_bits: Optional[int] = Field(default=None, ge=1, le=16)
    activation_bits: Optional[int] = Field(default=None, ge=1, le=16)


class Quantizers(Part):
    """What is quantized, and how.

    ``gradients``: bits of the gradients that enter each layer's backward (DoReFa).
    ``first_last_bits``: of the first and the last layer. ``power_of_two``: steps are rounded to
    powers of two. ``rules``: by layer, in the patterns of :class:`paddle_custom_quant.PerLayer`.
    """

    weights: Weights
    activations: Activations
    gradients: Optional[int] = Field(default=None, ge=1, le=16)
    first_last_bits: int = Field(default=8, ge=2, le=16)
    power_of_two: bool = False
    rules: dict[str, Rule] = Field(default_factory=dict)


class Hardware(Part):
    """Quantizers in the form that a hardware setting takes, in place of :class:`Quantizers`.

    ``setting``: a name for :func:`paddle_custom_quant.backend`. ``bits``: of weights and
    activations; the first and the last layer have ``first_last_bits``. ``folding``: strategy of
    :func:`paddle_custom_quant.fold_batch_norm`; batch norm stands alone if left out. Statistics are
    frozen from ``quantized.freeze_bn`` on, which strategy 3 has as its delay.
    """

    setting: Literal[tuple(BACKENDS)]  # type: ignore[valid-type]
    method: Literal[tuple(METHODS)]  # type: ignore[valid-type]
    bits: int = Field(ge=2, le=16)
    first_last_bits: int = Field(default=8, ge=2, le=16)
    folding: Optional[int] = Field(default=None, ge=0, le=4)

    @model_validator(mode="after")
    def _can_be(self) -> Hardware:
        held = backend(self.setting)
        reason = held.reason_against(self.method)
        if reason:
            raise ValueError(reason)
        if self.folding is not None and not held.folds_batch_norm:
            raise ValueError(
                f"{self.setting} does not fold batch norm: leave folding out, got {self.folding}."
            )
        return self


class Recipe(Part):
    """One training: a net, its data and up to four stages.

    ``float`` comes first; ``constrain`` goes on from it, ``quantized`` from the last of them.
    ``control`` trains the float net as long, with the rates and the ``pad`` of ``quantized``, from
    the same start, so that both had the same training. Every seed in ``seeds`` is a training of
    its own.
    """

    net: Literal[tuple(NETS)]  # type: ignore[valid-type]
    data: Data = Data()
    batch_size: int = Field(default=128, ge=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    optimizer: Optimizer = Optimizer()
    float_stage: Float = Field(alias="float")
    constrain: Optional[Constrain] = None
    control: bool = False
    quantized: Optional[Quantized] = None
    quantizers: Optional[Quantizers] = None
    hardware: Optional[Hardware] = None

    @model_validator(mode="after")
    def _goes_together(self) -> Recipe:
        gradients = self.quantizers is not None and self.quantizers.gradients is not None
        if gradients and not (self.quantized and self.quantized.epochs):
            raise ValueError(
                "quantizers.gradients is set without a stage that trains with them: gradient bits "
                "act in training alone, give quantized.epochs or remove them."
            )
        given = [part for part in (self.quantizers, self.hardware) if part is not None]
        if len(given) != (self.quantized is not None):
            raise ValueError(
                "quantized and quantizers belong together, or quantized and hardware: give both or "
                "neither."
            )
        if self.hardware and self.quantized:
            _check_statistics(self.hardware.folding, self.quantized)
        if self.control and not (self.quantized and self.quantized.epochs):
            raise ValueError("control trains as long as quantized does: give quantized.epochs.")
        if len(set(self.seeds)) < len(self.seeds) or not all(0 <= s < 2**31 for s in self.seeds):
            raise ValueError(f"seeds must be different and from 0 to 2^31 - 1, got {self.seeds}.")
        if self.optimizer.nesterov and not self.optimizer.momentum:
            raise ValueError("optimizer.nesterov needs a momentum above 0.")
        return self

    @property
    def title(self) -> str:
        """What its file is called, without ``.yaml``: net, data, methods, bits, specialities."""
        parts = [self.net.lower(), self.data.name]
        held = self.quantizers
        if self.hardware is not None:
            form = self.hardware
            parts += [form.method, f"w{form.bits}a{form.bits}", form.setting]
            parts += [] if form.folding is None else [f"fold{form.folding}"]
        elif held is None:
            parts.append("float")
        else:
            methods = dict.fromkeys([held.activations.method, held.weights.method])
            bits = f"w{held.weights.bits}a{held.activations.bits}"
            parts += ["-".join(methods), bits + (f"g{held.gradients}" if held.gradients else "")]
            parts += ["power-of-two"] * held.power_of_two
        parts += ["constrained"] * (self.constrain is not None)
        return "_".join(parts)


def _check_statistics(folding: int | None, stage: Quantized) -> None:
    if folding is not None and stage.reestimate_bn:
        raise ValueError(
            f"reestimate_bn is {stage.reestimate_bn}, but batch norm is folded into weights that "
            "were trained with its statistics: leave it out."
        )
    if folding in (0, 1, 2) and stage.freeze_bn is not None:
        raise ValueError(
            f"freeze_bn is {stage.freeze_bn:g}, but folding {folding} "
            f"{'uses the statistics of the batch' if folding == 2 else 'has frozen statistics'}: "
            "leave it out, or take folding 3 or 4."
        )
