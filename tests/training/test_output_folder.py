from __future__ import annotations

import pytest

from paddle_custom_quant.training.output_folder import output_folder


def test_results_arrive_together(tmp_path):
    target = tmp_path / "a" / "b"
    with output_folder(target) as staging:
        (staging / "model").mkdir()
        (staging / "model" / "weights").write_text("1")
        (staging / "metrics").write_text("2")
        assert not (target / "metrics").exists()
    assert sorted(path.name for path in target.iterdir()) == ["metrics", "model"]
    assert (target / "model" / "weights").read_text() == "1"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path, error):
    with pytest.raises(error), output_folder(tmp_path / "a" / "b") as staging:
        (staging / "metrics").write_text("half")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_earlier_results_survive_an_error(tmp_path):
    (tmp_path / "metrics").write_text("old")
    with pytest.raises(RuntimeError), output_folder(tmp_path) as staging:
        (staging / "metrics").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["metrics"]
    assert (tmp_path / "metrics").read_text() == "old"


def test_second_run_replaces_only_its_own_files(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    (tmp_path / "notes").write_text("mine")
    with output_folder(tmp_path) as staging:
        (staging / "model").mkdir()
        (staging / "model" / "weights").write_text("new")
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert (tmp_path / "notes").read_text() == "mine"


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    refused = pytest.raises(ValueError, match=r"cannot write results .*sub .*another folder")
    with refused, output_folder(tmp_path / "file" / "sub"):
        raise AssertionError("must not run")
    assert (tmp_path / "file").read_text() == ""
