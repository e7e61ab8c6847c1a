"""What an operator is there for, as Paddle marks it."""

from __future__ import annotations

from typing import Any

from paddle.framework import core

ROLE = core.op_proto_and_checker_maker.kOpRoleAttrName()
FORWARD = int(core.op_proto_and_checker_maker.OpRole.Forward)
BACKWARD = int(core.op_proto_and_checker_maker.OpRole.Backward)
OPTIMIZE = int(core.op_proto_and_checker_maker.OpRole.Optimize)
SCHEDULE = int(core.op_proto_and_checker_maker.OpRole.LRSched)


def role(desc: Any) -> int:
    """The role bits of an OpDesc."""
    return int(desc.attr(ROLE)) if desc.has_attr(ROLE) else FORWARD


def is_forward(desc: Any) -> bool:
    """The operator belongs neither to a backward pass nor to an optimizer."""
    return not role(desc) & (BACKWARD | OPTIMIZE | SCHEDULE)
