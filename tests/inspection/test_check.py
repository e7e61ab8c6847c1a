"""Faults in saved programs: each kind is found and named."""

from __future__ import annotations

import shutil

import pytest

import paddle_custom_quant as pcq
from paddle_custom_quant.inspection.check import check
from paddle_custom_quant.inspection.model import proto
from paddle_custom_quant.inspection.reading import read_model


@pytest.mark.parametrize("name", ["float_train", "train", "test", "converted"])
def test_sound(saved, name):
    assert check(read_model(saved / name)) == []


@pytest.mark.parametrize("name", ["float_train", "train", "float_test", "test", "converted"])
def test_sound_in_memory(built, name):
    assert pcq.verify(getattr(built, name), built.scope) == []


def test_float_reader_beside_stored_weights(built):
    """Weights that are stored on their grid are no float tensors; what lies beside them is."""
    with pcq.legacy_static():
        program = built.converted.clone()
    (conv,) = (op for op in program.global_block().ops if op.type == "conv2d")
    conv.desc.set_input("Filter", ["conv2d_0.w_0"])
    (found,) = pcq.verify(program)
    assert (found.kind, found.node) == ("float reader", "conv2d_0.w_0")


class Program:
    """A program's protobuf message, to put faults into."""

    def __init__(self, content: bytes) -> None:
        self.desc = proto.ProgramDesc()
        self.desc.ParseFromString(content)
        self.block = self.desc.blocks[0]

    def op(self, kind: str, writes: str = "") -> object:
        """The first operator of this type that writes such a variable."""
        for op in self.block.ops:
            if op.type == kind and any(writes in n for s in op.outputs for n in s.arguments):
                return op
        raise AssertionError(f"no {kind} writes {writes!r}")

    def remove(self, op: object) -> None:
        del self.block.ops[[o is op or o == op for o in self.block.ops].index(True)]

    def variable(self, name: str) -> object:
        return next(v for v in self.block.vars if v.name == name)


def slot(op, name, outputs=False):
    return next(s for s in (op.outputs if outputs else op.inputs) if s.parameter == name)


def dangling_input(p):
    p.remove(p.op("relu"))
    return "dangling input", "relu_0.tmp_0"


def read_before_written(p):
    relu = p.op("relu")
    p.block.ops.add().CopyFrom(relu)
    p.remove(relu)
    return "read before written", "relu_0.tmp_0"


def missing_gradient(p):
    p.remove(p.op("relu_grad"))
    return "missing gradient", "batch_norm_0.tmp_2@GRAD"


def undeclared(p):
    name = slot(p.op("conv2d"), "Output", outputs=True).arguments[0]
    kept = [v for v in p.block.vars if v.name != name]
    del p.block.vars[:]
    p.block.vars.extend(kept)
    return "undeclared variable", name


def two_writers(p):
    conv = p.op("conv2d")
    p.block.ops.add().CopyFrom(conv)
    return "two writers", slot(conv, "Output", outputs=True).arguments[0]


def updated_twice(p):
    p.block.ops.add().CopyFrom(p.op("momentum", "conv2d_0.w_0"))
    return "updated twice", "conv2d_0.w_0"


def unread_gradient(p):
    p.remove(p.op("momentum", "linear_0.w_0"))
    return "unread gradient", "linear_0.w_0@GRAD"


def lost_gradient(p):
    held = slot(p.op("elementwise_add_grad", "linear_0.b_0@GRAD"), "Y@GRAD", outputs=True)
    held.arguments[:] = ["@EMPTY@"]
    p.remove(p.op("momentum", "linear_0.b_0"))
    return "lost gradient", "linear_0.b_0"


def float_reader(p):
    slot(p.op("conv2d"), "Filter").arguments[:] = ["conv2d_0.w_0"]
    return "float reader", "conv2d_0.w_0"


def float_backward(p):
    slot(p.op("conv2d_grad"), "Input").arguments[:] = ["image"]
    return "backward reads another tensor", "image"


def reshaped_copy(p):
    kind = p.variable("conv2d_0.w_0.lsq").type
    getattr(kind, proto.VarType.DESCRIPTOR.fields_by_number[3].name).tensor.dims[:] = [4, 27]
    return "reshaped copy", "conv2d_0.w_0.lsq"


FAULTS = [
    dangling_input, read_before_written, missing_gradient, undeclared, two_writers, updated_twice,
    unread_gradient, lost_gradient, float_reader, float_backward, reshaped_copy,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_fault_is_found_and_named(saved, tmp_path, fault):
    for suffix in (".pdmodel", ".pdparams"):
        shutil.copy(saved / f"train{suffix}", tmp_path / f"train{suffix}")
    file = tmp_path / "train.pdmodel"
    program = Program(file.read_bytes())
    kind, node = fault(program)
    file.write_bytes(program.desc.SerializeToString())
    found = check(read_model(file))
    assert (kind, node) in {(f.kind, f.node) for f in found}
