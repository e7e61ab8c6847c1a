from __future__ import annotations

import errno
import json
import os
import struct

import numpy as np
import pytest

from paddle_custom_quant.training.tensor_file import read_tensors, write_tensors

VALUES = {
    "w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.array(7, np.int64),
    "none": np.zeros((0, 4), np.float64),
    "mask": np.array([True, False]),
}
STATE = {"rate": 0.1 + 0.2, "epochs": [1, 2], "name": "ü"}


def write(path, values=VALUES, state=STATE):
    write_tensors(path, values, state)
    return path


def test_everything_comes_back(tmp_path):
    values, state = read_tensors(write(tmp_path / "deep" / "a.safetensors"))
    assert state == STATE and set(values) == set(VALUES)
    for name, value in VALUES.items():
        assert values[name].dtype == value.dtype and values[name].shape == value.shape
        np.testing.assert_array_equal(values[name], value)
        values[name][...] = 0  # a copy of its own
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.safetensors"]


def test_layout_is_that_of_safetensors(tmp_path):
    content = write(tmp_path / "a").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0 and header["w"]["dtype"] == "F32" and header["w"]["shape"] == [2, 3]
    start, end = header["w"]["data_offsets"]
    body = content[8 + length :]
    assert np.frombuffer(body[start:end], "<f4").tolist() == [0, 1, 2, 3, 4, 5]
    assert max(v["data_offsets"][1] for k, v in header.items() if k != "__metadata__") == len(body)


def test_every_damaged_byte_and_every_cut_is_noticed(tmp_path):
    path = write(tmp_path / "a")
    whole = path.read_bytes()
    damaged = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    unnoticed = []
    for number, content in enumerate([*damaged, *(whole[:i] for i in range(0, len(whole), 7))]):
        path.write_bytes(content)
        try:
            values, state = read_tensors(path)
        except ValueError as error:
            assert "is damaged" in str(error)
        else:
            # A blank of the padding that turned into another character JSON allows, or the like.
            assert state == STATE
            np.testing.assert_array_equal(values["w"], VALUES["w"])
            unnoticed.append(number)
    assert len(unnoticed) < 8


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = write(tmp_path / "a")
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, state={})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
