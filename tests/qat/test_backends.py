from __future__ import annotations

import pytest
from paddle import nn, static

import paddle_custom_quant as pcq
from paddle_custom_quant.qat.backends import BACKENDS
from paddle_custom_quant.qat.forms import METHODS
from paddle_custom_quant.quantizers import (
    DSQ,
    EWGS,
    LSQ,
    PACT,
    TQT,
    AbsMax,
    DoReFaActivation,
    DoReFaWeight,
    LSQPlus,
    MovingAverageAbsMax,
    PowerOfTwoScale,
    WholeZeroPoint,
)
from paddle_custom_quant.training.classifier import build_classifier


def names(text):
    return text.split()


# ResNet-18: weights and inputs of its 20 convolutions and its linear layer. A shortcut's
# convolution reads what its block reads.
RESNET_WEIGHTS = names(
    """
    conv2d_0.w_0 conv2d_1.w_0 conv2d_2.w_0 conv2d_3.w_0 conv2d_4.w_0 conv2d_5.w_0 conv2d_6.w_0
    conv2d_7.w_0 conv2d_8.w_0 conv2d_9.w_0 conv2d_10.w_0 conv2d_11.w_0 conv2d_12.w_0
    conv2d_13.w_0 conv2d_14.w_0 conv2d_15.w_0 conv2d_16.w_0 conv2d_17.w_0 conv2d_18.w_0
    conv2d_19.w_0 linear_0.w_0
    """
)
RESNET_INPUTS = names(
    """
    image relu_0.tmp_0 relu_1.tmp_0 relu_2.tmp_0 relu_3.tmp_0 relu_4.tmp_0 relu_5.tmp_0
    relu_6.tmp_0 relu_7.tmp_0 relu_8.tmp_0 relu_9.tmp_0 relu_10.tmp_0 relu_11.tmp_0
    relu_12.tmp_0 relu_13.tmp_0 relu_14.tmp_0 relu_15.tmp_0 flattened
    """
)
RESNET_POOLED = ["relu_16.tmp_0"]
# What the second convolution of each block hands to the addition, and a shortcut's convolution;
# an identity shortcut is an input of the block, quantized already.
RESNET_BRANCHES = names(
    """
    batch_norm_2.tmp_2 batch_norm_4.tmp_2 batch_norm_6.tmp_2 batch_norm_9.tmp_2
    batch_norm_11.tmp_2 batch_norm_14.tmp_2 batch_norm_16.tmp_2 batch_norm_19.tmp_2
    """
)
RESNET_SHORTCUTS = ["batch_norm_7.tmp_2", "batch_norm_12.tmp_2", "batch_norm_17.tmp_2"]

# MobileNetV2: 52 convolutions, every third depthwise but for the first block (which does not
# expand), and its linear layer.
MOBILENET_WEIGHTS = names(
    """
    conv2d_0.w_0 conv2d_1.w_0 conv2d_2.w_0 conv2d_3.w_0 conv2d_4.w_0 conv2d_5.w_0 conv2d_6.w_0
    conv2d_7.w_0 conv2d_8.w_0 conv2d_9.w_0 conv2d_10.w_0 conv2d_11.w_0 conv2d_12.w_0
    conv2d_13.w_0 conv2d_14.w_0 conv2d_15.w_0 conv2d_16.w_0 conv2d_17.w_0 conv2d_18.w_0
    conv2d_19.w_0 conv2d_20.w_0 conv2d_21.w_0 conv2d_22.w_0 conv2d_23.w_0 conv2d_24.w_0
    conv2d_25.w_0 conv2d_26.w_0 conv2d_27.w_0 conv2d_28.w_0 conv2d_29.w_0 conv2d_30.w_0
    conv2d_31.w_0 conv2d_32.w_0 conv2d_33.w_0 conv2d_34.w_0 conv2d_35.w_0 conv2d_36.w_0
    conv2d_37.w_0 conv2d_38.w_0 conv2d_39.w_0 conv2d_40.w_0 conv2d_41.w_0 conv2d_42.w_0
    conv2d_43.w_0 conv2d_44.w_0 conv2d_45.w_0 conv2d_46.w_0 conv2d_47.w_0 conv2d_48.w_0
    conv2d_49.w_0 conv2d_50.w_0 conv2d_51.w_0 linear_0.w_0
    """
)
# Behind ReLU6, and the linear bottlenecks: of a stage's first block as its batch norm leaves it,
# of the others the sum.
MOBILENET_INPUTS = names(
    """
    image relu6_0.tmp_0 relu6_1.tmp_0 batch_norm_2.tmp_2 relu6_2.tmp_0 relu6_3.tmp_0
    batch_norm_5.tmp_2 relu6_4.tmp_0 relu6_5.tmp_0 tmp_0 relu6_6.tmp_0 relu6_7.tmp_0
    batch_norm_11.tmp_2 relu6_8.tmp_0 relu6_9.tmp_0 tmp_1 relu6_10.tmp_0 relu6_11.tmp_0 tmp_2
    relu6_12.tmp_0 relu6_13.tmp_0 batch_norm_20.tmp_2 relu6_14.tmp_0 relu6_15.tmp_0 tmp_3
    relu6_16.tmp_0 relu6_17.tmp_0 tmp_4 relu6_18.tmp_0 relu6_19.tmp_0 tmp_5 relu6_20.tmp_0
    relu6_21.tmp_0 batch_norm_32.tmp_2 relu6_22.tmp_0 relu6_23.tmp_0 tmp_6 relu6_24.tmp_0
    relu6_25.tmp_0 tmp_7 relu6_26.tmp_0 relu6_27.tmp_0 batch_norm_41.tmp_2 relu6_28.tmp_0
    relu6_29.tmp_0 tmp_8 relu6_30.tmp_0 relu6_31.tmp_0 tmp_9 relu6_32.tmp_0 relu6_33.tmp_0
    batch_norm_50.tmp_2 flattened
    """
)
MOBILENET_POOLED = ["relu6_34.tmp_0"]
# The projection of each block with a shortcut; the shortcut itself is an input.
MOBILENET_BRANCHES = names(
    """
    batch_norm_8.tmp_2 batch_norm_14.tmp_2 batch_norm_17.tmp_2 batch_norm_23.tmp_2
    batch_norm_26.tmp_2 batch_norm_29.tmp_2 batch_norm_35.tmp_2 batch_norm_38.tmp_2
    batch_norm_44.tmp_2 batch_norm_47.tmp_2
    """
)

RESNET, MOBILENET = RESNET_WEIGHTS + RESNET_INPUTS, MOBILENET_WEIGHTS + MOBILENET_INPUTS
RESNET_ONE = RESNET + RESNET_POOLED + RESNET_SHORTCUTS
MOBILENET_ONE = MOBILENET + MOBILENET_POOLED
LISTS = {
    "academic": (RESNET, MOBILENET),
    "acl": (RESNET, MOBILENET),
    "tensorrt": (RESNET_ONE, MOBILENET_ONE),
    "openvino": (RESNET_ONE, MOBILENET_ONE),
    "onednn": (RESNET + RESNET_SHORTCUTS, MOBILENET),
    **dict.fromkeys(
        ("tvm", "snpe", "fbgemm", "onnxruntime"),
        (RESNET_ONE + RESNET_BRANCHES, MOBILENET_ONE + MOBILENET_BRANCHES),
    ),
}


def build(net):
    with pcq.legacy_static():
        return build_classifier(net, (3, 32, 32), 10)


@pytest.fixture(scope="module")
def resnet():
    return build("ResNet-18")


@pytest.fixture(scope="module")
def mobilenet():
    return build("MobileNetV2")


def placed(classifier, name, method="lsq", bits=4, training=True, **settings):
    with pcq.legacy_static():
        arguments = pcq.backend(name).arguments(method, bits, classifier.test, **settings)
        program = classifier.train if training else classifier.test
        placement = pcq.placement(program, **arguments)
    last = next(op for op in classifier.test.global_block().ops if op.type == "matmul_v2")
    renamed = {last.input("X")[0]: "flattened"}  # Paddle's lines number it differently
    return {renamed.get(p.target.name, p.target.name): p for p in placement}


@pytest.mark.parametrize("training", [True, False], ids=["train", "test"])
@pytest.mark.parametrize("name", BACKENDS)
def test_every_setting_quantizes_what_its_table_says(resnet, mobilenet, name, training):
    assert set(BACKENDS) == set(LISTS)
    for classifier, tensors in zip((resnet, mobilenet), LISTS[name]):
        found = placed(classifier, name, training=training)
        assert sorted(found) == sorted(tensors)


def test_ends_have_8_bits_and_signs_follow_the_net(mobilenet):
    found = placed(mobilenet, "tensorrt", activation_bits=3)
    for name in ("image", "flattened"):
        assert found[name].quantizer == MovingAverageAbsMax(8)
    for name in ("conv2d_0.w_0", "linear_0.w_0"):
        assert found[name].quantizer == AbsMax(8, per_channel=True)
    assert found["conv2d_1.w_0"].quantizer == LSQ(4, per_channel=True)
    assert found["relu6_0.tmp_0"].quantizer == LSQ(3, signed=False)
    assert found["batch_norm_2.tmp_2"].quantizer == LSQ(3, signed=True)
    assert found["tmp_0"].quantizer == LSQ(3, signed=True)


def forms(classifier, name, method, bits=4):
    found = placed(classifier, name, method, bits)
    names = ("conv2d_1.w_0", "relu6_0.tmp_0", "batch_norm_2.tmp_2")
    return tuple(found[key].quantizer for key in names)


WEIGHT = DoReFaWeight(4, rescale=True, detach_max=True)
CASES = {
    ("academic", "dorefa"): (DoReFaWeight(4), DoReFaActivation(4), MovingAverageAbsMax(4)),
    ("academic", "lsq+"): (LSQPlus(4), *[LSQPlus(4, signed=False)] * 2),
    ("academic", "dsq"): (DSQ(4), DSQ(4, signed=False), DSQ(4)),
    ("tensorrt", "lsq"): (LSQ(4, per_channel=True), LSQ(4, signed=False), LSQ(4)),
    ("tensorrt", "dsq"): (
        WholeZeroPoint(DSQ(4, per_channel=True), at=8),
        DSQ(4, signed=False),
        WholeZeroPoint(DSQ(4), at=8),
    ),
    ("acl", "dsq"): (
        WholeZeroPoint(DSQ(4, per_channel=True)),
        DSQ(4, signed=False),
        WholeZeroPoint(DSQ(4)),
    ),
    ("snpe", "lsq+"): (LSQPlus(4), *[WholeZeroPoint(LSQPlus(4, signed=False))] * 2),
    ("snpe", "pact"): (WEIGHT, PACT(4), PACT(4, signed=True)),
    ("tvm", "lsq"): tuple(map(PowerOfTwoScale, (LSQ(4), LSQ(4, signed=False), LSQ(4)))),
    ("tvm", "ewgs"): tuple(
        EWGS(PowerOfTwoScale(q)) for q in (LSQ(4), LSQ(4, signed=False), LSQ(4))
    ),
    ("tvm", "tqt"): (TQT(4), TQT(4, signed=False), TQT(4)),
    ("tvm", "dorefa"): tuple(
        map(PowerOfTwoScale, (WEIGHT, DoReFaActivation(4), MovingAverageAbsMax(4)))
    ),
}


@pytest.mark.parametrize(("name", "method"), CASES, ids="-".join)
def test_quantizers_take_the_setting_s_form(mobilenet, name, method):
    assert forms(mobilenet, name, method) == CASES[name, method]


@pytest.mark.parametrize("name", BACKENDS)
def test_a_method_without_a_uniform_grid_runs_on_no_engine(name, legacy):
    setting, program = pcq.backend(name), static.Program()
    for method in ("apot", "lq-net", "qil", "n2uq"):
        if name == "academic":
            assert setting.reason_against(method) == ""
            setting.arguments(method, 4, program)
            continue
        reason = setting.reason_against(method)
        assert reason.startswith(f"{method} is not deployable on {name} because ")
        with pytest.raises(ValueError, match="not deployable"):
            setting.arguments(method, 4, program)
    for method in set(METHODS) - {"apot", "lq-net", "qil", "n2uq", "lsq+"}:
        assert setting.reason_against(method) == ""
        setting.arguments(method, 4, program)
    symmetric = name in ("tensorrt", "tvm", "onednn", "onnxruntime", "openvino")
    assert ("zero point" in setting.reason_against("lsq+")) == symmetric


def test_unknown_names_are_answered_with_near_ones(legacy):
    with pytest.raises(
        ValueError, match="no setting is called 'TensorRT8'; did you mean 'tensorrt"
    ):
        pcq.backend("TensorRT8")
    with pytest.raises(ValueError, match="no method is called 'doreffa'; did you mean 'dorefa'"):
        pcq.backend("acl").arguments("doreffa", 4, static.Program())
    with pytest.raises(ValueError, match="bits must be between 1 and 16, got 0"):
        pcq.backend("acl").arguments("lsq", 0, static.Program())
    with pytest.raises(ValueError, match="SAWB has coefficients for 2, 3, 4, 5, 8 bits, got 6"):
        pcq.backend("acl").arguments("sawb", 6, static.Program())


def test_an_operand_that_is_read_elsewhere_too_is_not_left_to_its_convolution(legacy):
    main = static.Program()
    with static.program_guard(main):
        x = static.data("x", [-1, 4, 8, 8])
        y = nn.Conv2D(4, 4, 3, padding=1)(x)
        z = nn.Conv2D(4, 4, 3, padding=1)(x)
        both = y + z
        nn.Conv2D(4, 4, 1)(both + nn.functional.relu(z) + y)
    arguments = pcq.backend("tensorrt").arguments("lsq", 4, main)
    found = {p.target.name for p in pcq.placement(main, **arguments)}
    assert {y.name, z.name} <= found
