"""Every method in a few settings, for the tests that hold for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paddle_custom_quant.quantizers import (
    DSQ,
    EWGS,
    LSQ,
    N2UQ,
    PACT,
    QIL,
    SAWB,
    TQT,
    AbsMax,
    APoT,
    DoReFaActivation,
    DoReFaWeight,
    LQNet,
    LSQPlus,
    MovingAverageAbsMax,
    PACTClip,
    Percentile,
    PowerOfTwoScale,
    Quantizer,
    WholeZeroPoint,
)
from paddle_custom_quant.target import ACTIVATION, WEIGHT


@dataclass(frozen=True)
class Case:
    """A quantizer and the kind of tensor it is put on."""

    quantizer: Quantizer
    role: str = WEIGHT
    channel_axis: int | None = None
    start: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Readable name."""
        return f"{self.quantizer!r}-{self.role}-{self.channel_axis}"


CASES = [
    Case(DoReFaWeight(1)),
    Case(DoReFaWeight(4)),
    Case(DoReFaWeight(3, rescale=True)),
    Case(DoReFaWeight(3, detach_max=True, per_channel=True), channel_axis=0),
    Case(DoReFaActivation(4), ACTIVATION),
    Case(PACT(4, alpha=1.5), ACTIVATION),
    Case(PACT(3, alpha=1.0, signed=True)),
    Case(SAWB(2)),
    Case(SAWB(4, per_channel=True), channel_axis=1),
    Case(LSQ(4)),
    Case(LSQ(3, per_channel=True), channel_axis=0),
    Case(LSQ(2, per_channel=True), channel_axis=1),
    Case(LSQ(1, signed=False), ACTIVATION),
    Case(LSQ(4, signed=False), ACTIVATION),
    Case(LSQPlus(4)),
    Case(LSQPlus(3, per_channel=True), channel_axis=1),
    Case(LSQPlus(4), ACTIVATION, start={"offset": 0.3}),
    Case(DSQ(4)),
    Case(DSQ(2, per_channel=True, learn_alpha=False), channel_axis=0),
    Case(DSQ(4), ACTIVATION),
    Case(DSQ(3, signed=False, learn_range=True), ACTIVATION),
    Case(DSQ(3, learn_range=True, per_channel=True), channel_axis=1),
    Case(QIL(4)),
    Case(QIL(3, rescale=True, per_channel=True), channel_axis=1, start={"distance": 0.4}),
    Case(QIL(2, signed=False), ACTIVATION, start={"center": 0.7}),
    Case(APoT(2)),
    Case(APoT(4, rescale=True)),
    Case(APoT(5, rescale=True, per_channel=True), channel_axis=1),
    Case(APoT(3, signed=False, alpha=2.0), ACTIVATION),
    Case(LQNet(2)),
    Case(LQNet(3, per_channel=True), channel_axis=1),
    Case(LQNet(2, signed=False), ACTIVATION),
    Case(TQT(4)),
    Case(TQT(3, per_channel=True), channel_axis=0),
    Case(TQT(4, signed=False), ACTIVATION),
    Case(EWGS(LSQ(4), delta=0.2)),
    Case(EWGS(LSQPlus(3), delta=0.1), ACTIVATION),
    Case(N2UQ(2), channel_axis=0),
    Case(N2UQ(4, per_channel=False), start={"clip": 0.8}),
    Case(N2UQ(1, signed=False), ACTIVATION),
    Case(N2UQ(3, signed=False), ACTIVATION, start={"start": 0.1}),
    Case(AbsMax(4)),
    Case(AbsMax(8, per_channel=True), channel_axis=1),
    Case(AbsMax(4, signed=False), ACTIVATION),
    Case(MovingAverageAbsMax(4), ACTIVATION),
    Case(MovingAverageAbsMax(4, signed=False), ACTIVATION),
    Case(Percentile(4, percentile=90.0), ACTIVATION),
    Case(Percentile(4, signed=False, percentile=95.0), ACTIVATION),
    Case(Percentile(4, percentile=95.0, per_channel=True), channel_axis=1),
    Case(PowerOfTwoScale(LSQ(4))),
    Case(PowerOfTwoScale(PACT(4, alpha=2.0)), ACTIVATION),
    Case(PowerOfTwoScale(DoReFaWeight(3, rescale=True))),
    Case(PowerOfTwoScale(DoReFaActivation(4)), ACTIVATION),
    Case(PowerOfTwoScale(LSQPlus(4)), ACTIVATION),
    Case(PowerOfTwoScale(DSQ(3))),
    Case(PowerOfTwoScale(QIL(3, rescale=True))),
    Case(PowerOfTwoScale(EWGS(LSQ(3)))),
    Case(PowerOfTwoScale(N2UQ(3)), channel_axis=0),
    Case(WholeZeroPoint(LSQPlus(4, signed=False)), ACTIVATION, start={"offset": -0.3}),
    Case(WholeZeroPoint(PowerOfTwoScale(DSQ(3))), ACTIVATION),
    Case(WholeZeroPoint(DSQ(3, per_channel=True), at=4), channel_axis=1),
]
CLIPS = [Case(PACTClip(1.0), ACTIVATION)]
