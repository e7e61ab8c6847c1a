"""The sound-graph check: sound programs pass, every kind of fault is found and named."""

from __future__ import annotations

import paddle
import pytest
from paddle import nn, static
from paddle.framework import IrGraph, core

import paddle_custom_quant as pcq
from paddle_custom_quant.quantizers import LSQ, PACT

CPU = paddle.CPUPlace()


@pytest.fixture
def program(legacy):
    """A quantized training program whose parameters have values."""
    main, startup = static.default_main_program(), static.default_startup_program()
    image = static.data("image", [None, 3, 6, 6])
    hidden = nn.functional.relu(nn.Conv2D(3, 4, 3)(image))
    loss = paddle.mean(nn.Linear(64, 2)(paddle.flatten(hidden, 1)))
    paddle.optimizer.SGD(0.1).minimize(loss)
    legacy.run(startup)
    return pcq.quant_aware(
        main, CPU, {"quantize_op_types": ["conv2d", "matmul_v2"]}, return_program=True,
        weight_quantize_func=LSQ(4), act_quantize_func=PACT(4),
        optimizer_func=lambda: paddle.optimizer.Adam(1e-3),
    )  # fmt: skip


def op(program, kind, reads="", writes=""):
    """The first operator of this type with such an input and output."""
    for found in program.global_block().ops:
        fits = any(reads in n for n in found.input_arg_names or [""])
        if found.type == kind and fits and any(writes in n for n in found.output_arg_names):
            return found
    raise AssertionError(f"no {kind} reads {reads!r} and writes {writes!r}")


def remove(program, held):
    program.global_block()._remove_op(program.global_block().ops.index(held))


def graph_of(program):
    return IrGraph(core.Graph(program.desc))


def test_sound_before_and_after(program):
    assert pcq.verify(program, static.global_scope()) == []
    assert pcq.verify(graph_of(program)) == []
    assert pcq.verify(static.default_main_program()) == []


def dangling_input(p):
    held = op(p, "conv2d")
    name = held.output("Output")[0]
    remove(p, held)
    return "dangling input", name


def missing_gradient(p):
    held = op(p, "conv2d_grad")
    name = held.output("Filter@GRAD")[0]
    remove(p, held)
    return "missing gradient", name


def read_before_written(p):
    block = p.global_block()
    held = op(p, "relu")
    index, source, name = block.ops.index(held), held.input("X"), held.output("Out")
    block._insert_op(len(block.ops), type="relu", inputs={"X": source}, outputs={"Out": name})
    block._remove_op(index)
    return "read before written", name[0]


def two_writers(p):
    held = op(p, "relu")
    p.global_block().append_op(
        type="relu", inputs={"X": held.input("X")}, outputs={"Out": held.output("Out")}
    )
    return "two writers", held.output("Out")[0]


def undeclared_variable(p):
    name = op(p, "relu").output("Out")[0]
    p.global_block()._remove_var(name)
    return "undeclared variable", name


def updated_twice(p):
    held = op(p, "sgd")
    copy = p.global_block().desc.append_op()
    copy.copy_from(held.desc)
    p._sync_with_cpp()
    return "updated twice", held.input("Param")[0]


def unread_gradient(p):
    held = op(p, "sgd", "conv2d_0.w_0")
    remove(p, held)
    return "unread gradient", "conv2d_0.w_0@GRAD"


def lost_gradient(p):
    step = "conv2d_0.w_0.lsq.step"
    ops = p.global_block().ops
    made = next(o for o in ops if f"{step}@GRAD" in o.output_arg_names)
    used = next(o for o in ops if f"{step}@GRAD" in o.input_arg_names)
    made.desc._rename_output(f"{step}@GRAD", "elsewhere")
    p.global_block().create_var(name="elsewhere", shape=[1], dtype="float32")
    remove(p, used)
    return "lost gradient", step


def float_reader(p):
    op(p, "conv2d").desc._rename_input("conv2d_0.w_0.lsq", "conv2d_0.w_0")
    return "float reader", "conv2d_0.w_0"


def backward_reads_another_tensor(p):
    op(p, "conv2d_grad").desc._rename_input("conv2d_0.w_0.lsq", "conv2d_0.w_0")
    return "backward reads another tensor", "conv2d_0.w_0"


def reshaped_copy(p):
    p.global_block().var("conv2d_0.w_0.lsq").desc.set_shape([4, 3, 9])
    return "reshaped copy", "conv2d_0.w_0.lsq"


FAULTS = [
    dangling_input, missing_gradient, read_before_written, two_writers, undeclared_variable,
    updated_twice, unread_gradient, lost_gradient, float_reader, backward_reads_another_tensor,
    reshaped_copy,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__.replace("_", " "))
def test_a_fault_is_found_and_named(program, fault):
    kind, node = fault(program)
    found = [f for f in pcq.verify(program) if (f.kind, f.node) == (kind, node)]
    assert found, [str(f) for f in pcq.verify(program)]
    assert found[0].op and found[0].message and node in str(found[0])


def test_a_parameter_without_a_start_value(program):
    empty = static.Scope()
    kinds = {(f.kind, f.node) for f in pcq.verify(program, empty)}
    assert ("no start value", "conv2d_0.w_0.lsq.step") in kinds


def test_a_cycle_and_a_loose_link_in_a_graph(program):
    graph = graph_of(program)
    nodes = {n.name(): n for n in graph.all_op_nodes() if n.name() in ("relu", "conv2d")}
    late = next(n for n in nodes["relu"].outputs)
    graph.link_to(late, nodes["conv2d"])
    assert "cycle" in {f.kind for f in pcq.verify(graph)}
    graph = graph_of(program)
    relu = next(n for n in graph.all_op_nodes() if n.name() == "relu")
    name = relu.inputs[0].name()
    relu.op()._rename_input(name, "nowhere")
    assert ("loose link", "nowhere") in {(f.kind, f.node) for f in pcq.verify(graph)}


def test_other_objects_are_refused():
    with pytest.raises(TypeError, match="program of the old kind or an IrGraph"):
        pcq.verify(3)
