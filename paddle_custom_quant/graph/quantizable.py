"""Which inputs of an operator can be quantized."""

from __future__ import annotations

from typing import Any

from paddle.static.quantization.quant_config import SUPPORT_QUANTIZATION_OP_DICT

QUANTIZABLE_SLOTS: dict[str, tuple[str, ...]] = {
    kind: tuple(slots[0]) for kind, slots in SUPPORT_QUANTIZATION_OP_DICT.items()
}


def quantizable_inputs(desc: Any) -> list[tuple[str, int, str]]:
    """(slot, index, variable name) of each input of an OpDesc that can be quantized."""
    return [
        (slot, index, name)
        for slot in QUANTIZABLE_SLOTS.get(desc.type(), ())
        if slot in desc.input_names()
        for index, name in enumerate(desc.input(slot))
    ]
