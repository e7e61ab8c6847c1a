"""Comparisons, the commands, and what bad input leads to."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from paddle import static
from typer.testing import CliRunner

from paddle_custom_quant.cli import app
from paddle_custom_quant.compat import legacy_static
from paddle_custom_quant.deploy import compare, load_program
from paddle_custom_quant.deploy.engines import ENGINES, Engine
from paddle_custom_quant.deploy.parity import _row
from paddle_custom_quant.deploy.probe import probe
from paddle_custom_quant.deploy.program_writer import without_origins
from paddle_custom_quant.deploy.worker import Measured
from paddle_custom_quant.inspection.model import proto


@pytest.fixture(scope="module")
def saved(tmp_path_factory, net):
    path = tmp_path_factory.mktemp("saved") / "net"
    with legacy_static(), static.scope_guard(net.scope):
        static.save(net.program, str(path))
    return path


@pytest.fixture
def pictures(tmp_path, batch):
    np.save(tmp_path / "images.npy", batch)
    return tmp_path / "images.npy"


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_reference_agrees_with_the_program_layer_by_layer(net, frozen, batch):
    result = compare(net.program, net.scope, batch, frozen=frozen, engines=["paddle"], layers=True)
    assert result.row("integer reference").largest < 1e-5
    assert result.row("paddle").largest == 0.0 and result.row("paddle").top1_agreement == 1
    assert len(result.layers) >= 8 and all(row.steps == 0 for row in result.layers)
    assert json.loads(result.to_json())["samples"] == len(batch)


def test_a_later_result_that_is_nan_or_missing_is_no_agreement():
    right, wrong = np.ones((4, 3), "float32"), np.full((4, 3), np.nan, "float32")
    row = _row("engine", Measured([right, wrong], []), [right, right])
    assert np.isnan(row.largest) and np.isnan(row.mean) and row.beyond_step == 1
    with pytest.raises(ValueError, match="1 results, the program 2"):
        _row("engine", Measured([right], []), [right, right])


def test_a_wrong_weight_is_located(net, frozen, batch):
    layers = frozen.weighted_layers()
    held = frozen.weights[layers[1].inputs[1]]
    held.integers[0] += 3
    try:
        result = compare(net.program, net.scope, batch, frozen=frozen, engines=[], layers=True)
    finally:
        held.integers[0] -= 3
    first = next(row for row in result.layers if row.steps)
    reader = next(x for x in frozen.layers if layers[1].name in x.inputs)
    assert first.tensor == reader.name


def test_saved_program_is_the_same_program(net, saved, batch):
    program, scope = load_program(saved)
    result = compare(program, scope, batch, engines=["paddle"])
    assert result.row("paddle").largest == 0.0


def test_engine_that_is_not_installed_is_skipped(net, frozen, batch, monkeypatch):
    monkeypatch.setitem(ENGINES, "openvino", Engine("openvino", "onnx", "no_such_package"))
    result = compare(net.program, net.scope, batch, frozen=frozen, engines=["openvino"])
    assert "not installed" in result.row("openvino").skipped
    assert "skipped" in str(result)


@pytest.mark.parametrize(
    "inputs", [np.zeros([4, 3, 8, 9]), np.zeros([4, 3, 8]), {"picture": np.zeros([4, 3, 8, 8])}]
)
def test_wrong_inputs_are_refused(net, frozen, inputs):
    with pytest.raises(ValueError, match="'image'"):
        compare(net.program, net.scope, inputs, frozen=frozen, engines=[])


def test_unknown_engine_is_refused(net, frozen, batch):
    with pytest.raises(ValueError, match="engine must be one of"):
        compare(net.program, net.scope, batch, frozen=frozen, engines=["tvm"])


def test_export_and_compare_commands(saved, pictures, tmp_path):
    pytest.importorskip("onnx")
    done = run("export", saved, tmp_path / "out" / "m", "--formats", "paddle,onnx")
    assert done.exit_code == 0, done.output
    assert "5 of 5 layers are integers" in done.output
    again = run("export", saved, tmp_path / "out" / "m")
    assert again.exit_code == 2 and "exists" in again.output
    done = run("compare", saved, "--inputs", pictures, "--exported", tmp_path / "out" / "m",
               "--engine", "paddle", "--json", tmp_path / "result.json")  # fmt: skip
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert [row["engine"] for row in rows] == ["integer reference", "paddle"]


@pytest.mark.parametrize("suffix", [".pdmodel", ".pdparams"])
def test_truncated_program_is_one_line(saved, pictures, tmp_path, suffix):
    for end in (".pdmodel", ".pdparams", ".pdopt"):
        content = saved.with_suffix(end).read_bytes()
        keep = len(content) // 2 if end == suffix else len(content)
        (tmp_path / f"net{end}").write_bytes(content[:keep])
    for arguments in (("export", tmp_path / "net", tmp_path / "out"),
                      ("compare", tmp_path / "net", "--inputs", pictures)):  # fmt: skip
        done = run(*arguments)
        assert done.exit_code == 2
        assert len(done.output.strip().splitlines()) == 1


def damaged(saved, folder, content):
    for end in (".pdparams", ".pdopt"):
        (folder / f"net{end}").write_bytes(saved.with_suffix(end).read_bytes())
    (folder / "net.pdmodel").write_bytes(content)
    return folder / "net"


@pytest.mark.parametrize("command", ["export", "compare"])
def test_changed_bytes_are_one_line_and_the_process_survives(
    saved, pictures, tmp_path, rng, command
):
    content = without_origins(saved.with_suffix(".pdmodel").read_bytes())
    for number in range(4):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), 2):
            changed[place] = rng.integers(0, 256)
        if number == 3:
            changed = changed[: rng.integers(1, len(content))]
        model = damaged(saved, tmp_path, bytes(changed))
        arguments = {
            "export": (tmp_path / "out", "--formats", "paddle,paddle-float", "--overwrite"),
            "compare": ("--inputs", pictures, "--engine", "paddle"),
        }
        done = run(command, model, *arguments[command])
        # Some bytes change nothing, or what only an engine minds.
        assert done.exit_code in (0, 1, 2)
        assert done.exit_code < 2 or len(done.output.strip().splitlines()) == 1


def test_a_program_that_ends_its_process_is_one_line(saved, pictures, tmp_path):
    held = proto.ProgramDesc()
    held.ParseFromString(without_origins(saved.with_suffix(".pdmodel").read_bytes()))
    pool = [op for op in held.blocks[0].ops if op.type == "pool2d"][-1]  # adaptive
    for attribute in pool.attrs:
        if attribute.name == "ksize":
            attribute.ints[0] = 0
    model = damaged(saved, tmp_path, held.SerializeToString())
    done = run("compare", model, "--inputs", pictures, "--engine", "paddle")
    assert done.exit_code == 2
    assert len(done.output.strip().splitlines()) == 1 and "net" in done.output


def test_what_ends_the_probe_is_told(saved, monkeypatch):
    def killed(*arguments, **settings):
        return subprocess.CompletedProcess(arguments, -6, "", "")

    monkeypatch.setattr(subprocess, "run", killed)
    with pytest.raises(ValueError, match="it ended the process that tried it by signal 6"):
        probe(saved)


@pytest.mark.parametrize("engine, suffix", [("paddle", ".pdiparams"), ("onnxruntime", ".onnx")])
def test_truncated_export_is_one_line_and_the_process_survives(
    saved, pictures, tmp_path, engine, suffix
):
    pytest.importorskip("onnx")
    assert run("export", saved, tmp_path / "m").exit_code == 0
    file = tmp_path / f"m{suffix}"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = run("compare", saved, "--inputs", pictures, "--exported", tmp_path / "m",
               "--engine", engine)  # fmt: skip
    assert done.exit_code == 1
    assert len([x for x in done.output.splitlines() if f"{engine} failed" in x]) == 1
