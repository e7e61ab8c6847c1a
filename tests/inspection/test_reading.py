"""Bad files: one line that says what is wrong, and never the end of the process."""

from __future__ import annotations

import io
import pickle
import shutil

import numpy as np
import pytest

from paddle_custom_quant.inspection.model import ModelError, proto
from paddle_custom_quant.inspection.page import render
from paddle_custom_quant.inspection.reading import read_model
from paddle_custom_quant.inspection.summary import summarize

CORRUPTIONS = 200


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the saved inference model that may be damaged."""
    for suffix in (".pdmodel", ".pdiparams"):
        shutil.copy(saved / f"test{suffix}", tmp_path / f"test{suffix}")
    return tmp_path / "test.pdmodel"


def problem(path):
    """The one line."""
    with pytest.raises(ModelError) as raised:
        read_model(path)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_paths_that_name_the_same_model(saved, copy):
    expected = summarize(read_model(copy)).quantized
    for path in (copy.parent, copy.with_suffix(""), copy.with_suffix(".pdiparams")):
        assert summarize(read_model(path)).quantized == expected


def test_values_are_those_of_the_scope(built, saved):
    for name in ("test", "train"):
        held = read_model(saved / name).values
        for key in ("conv2d_0.w_0", "linear_0.b_0", "image.pact.alpha"):
            np.testing.assert_array_equal(
                held[key], np.array(built.scope.find_var(key).get_tensor())
            )


def test_checkpoint(tmp_path):
    np.savez(tmp_path / "checkpoint.npz", **{"a.w_0": np.zeros([3, 2], "float32")})
    summary = summarize(read_model(tmp_path))
    assert (summary.kind, summary.parameter_elements, summary.parameter_bytes) == (
        "checkpoint", 6, 24,
    )  # fmt: skip
    assert "checkpoint" in str(summary)


def test_missing(tmp_path):
    assert "neither this file nor model.pdmodel." in problem(tmp_path / "model")
    for suffix in (".pdmodel", ".pdiparams", ".pdparams"):
        assert "model.pdmodel: no such model: there is no" in problem(tmp_path / f"model{suffix}")


def test_folder_without_a_model(tmp_path):
    assert "holds no model" in problem(tmp_path)


def test_folder_with_several(saved):
    assert "holds 4 models, name one of them: converted.pdmodel" in problem(saved)


def test_folder_with_many(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.pdmodel").touch()
    text = problem(tmp_path)
    assert "holds 9 models" in text and text.endswith("7.pdmodel, ...")


def test_text_file(tmp_path):
    (tmp_path / "notes.pdmodel").write_text("These are notes, not a model.\n" * 20)
    assert "not a Paddle program" in problem(tmp_path / "notes.pdmodel")


def test_empty_file(tmp_path):
    (tmp_path / "empty.pdmodel").write_bytes(b"")
    assert "not a Paddle program" in problem(tmp_path / "empty.pdmodel")


def test_new_program_kind(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    assert "new kind (PIR)" in problem(tmp_path / "model")


def test_newer_paddle(copy):
    desc = proto.ProgramDesc()
    desc.ParseFromString(copy.read_bytes())
    desc.version.version = 9001000
    copy.write_bytes(desc.SerializeToString())
    assert "written by Paddle 9.1.0, which is newer than the installed" in problem(copy)


def test_unreadable_file(tmp_path):
    (tmp_path / "model.pdmodel").mkdir()
    assert "holds no model" in problem(tmp_path / "model.pdmodel")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda data: data[:-3], "cut off within the values"),
        (lambda data: data + b"more", "4 bytes are left"),
        (lambda data: b"", "does not match the model"),
        (lambda data: b"\x01" * len(data), "not a file of parameters"),
    ],
    ids=["short", "long", "empty", "other"],
)
def test_parameters_that_do_not_match(copy, change, text):
    file = copy.with_suffix(".pdiparams")
    file.write_bytes(change(file.read_bytes()))
    assert text in problem(copy)


def test_parameters_of_another_model(saved, copy):
    shutil.copy(saved / "converted.pdiparams", copy.with_suffix(".pdiparams"))
    assert "does not match the model" in problem(copy)


class Evil:
    """Runs something when it is unpickled the usual way."""

    def __reduce__(self):
        return (print, ("this must not be printed",))


@pytest.mark.parametrize("content", [Evil(), {"a": Evil()}, [1, 2]], ids=["call", "in", "list"])
def test_pickles_run_nothing(saved, tmp_path, capsys, content):
    shutil.copy(saved / "train.pdmodel", tmp_path / "train.pdmodel")
    (tmp_path / "train.pdparams").write_bytes(pickle.dumps(content))
    assert "not a file of parameters" in problem(tmp_path / "train")
    assert capsys.readouterr().out == ""


def test_pickle_without_a_parameter(saved, tmp_path):
    shutil.copy(saved / "train.pdmodel", tmp_path / "train.pdmodel")
    held = pickle.loads((saved / "train.pdparams").read_bytes())
    del held["conv2d_0.w_0"]
    (tmp_path / "train.pdparams").write_bytes(pickle.dumps(held, protocol=4))
    assert "'conv2d_0.w_0' is missing" in problem(tmp_path / "train")


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut off, or with up to eight bits flipped, or with a stretch overwritten."""
    kind = rng.integers(3)
    if kind == 0:
        return data[: rng.integers(len(data))]
    held = bytearray(data)
    if kind == 1:
        for _ in range(rng.integers(1, 9)):
            held[rng.integers(len(held))] ^= 1 << int(rng.integers(8))
    else:
        start = int(rng.integers(len(held)))
        stretch = rng.bytes(int(rng.integers(1, 64)))
        held[start : start + len(stretch)] = stretch
    return bytes(held)


def test_random_corruptions(copy, rng):
    """Each is read, or refused in one line; what is read can be summed up and drawn."""
    files = [copy, copy.with_suffix(".pdiparams")]
    whole = [file.read_bytes() for file in files]
    refused = 0
    for i in range(CORRUPTIONS):
        which = int(i % 4 == 3)  # mostly the program
        for file, content in zip(files, whole):
            file.write_bytes(content)
        files[which].write_bytes(damaged(whole[which], rng))
        try:
            model = read_model(copy)
        except ModelError as error:
            refused += 1
            assert "\n" not in str(error)
            continue
        str(summarize(model))
        render(model)
    assert 0 < refused < CORRUPTIONS


def test_damaged_archive(tmp_path):
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(100))
    (tmp_path / "c.npz").write_bytes(stream.getvalue()[:80])
    assert "not an archive of arrays" in problem(tmp_path / "c.npz")
