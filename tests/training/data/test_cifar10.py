from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from paddle_custom_quant.training.data import cifar10
from paddle_custom_quant.training.data.cifar10 import download_cifar10, read_cifar10

FOLDER = "cifar-10-batches-py"
BATCHES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


def rows(batch, count=4):
    random = np.random.default_rng(BATCHES.index(batch))
    made = random.integers(0, 256, (count, 3073), np.uint8)
    made[:, 0] %= 10
    return made


SUMS = {batch: hashlib.sha256(rows(batch).tobytes()).hexdigest() for batch in BATCHES}


def official(values):
    """The bytes of numpy's form of 2009, as Python 2 pickled it."""
    pixels = np.ascontiguousarray(values[:, 1:]).tobytes()
    labels = b"".join(b"K" + bytes([label]) for label in values[:, 0])
    count = len(values)
    return (
        b"\x80\x02}q\x01(U\x06labelsq\x02](" + labels + b"eU\x04datacnumpy.core.multiarray\n"
        b"_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K" + bytes([count]) +
        b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + len(pixels).to_bytes(4, "little") + pixels + b"tbu."
    )  # fmt: skip


def contents(binary=False):
    made = {
        f"{batch}.bin" if binary else batch: rows(batch).tobytes()
        if binary
        else official(rows(batch))
        for batch in BATCHES
    }
    return {"batches.meta": b"not read", **made}


def pack(path, files, folder=FOLDER):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}" if folder else name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def unpack(folder, files):
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_the_form_written_here_is_what_numpy_reads():
    held = pickle.loads(official(rows("test_batch")), encoding="bytes")
    np.testing.assert_array_equal(held[b"data"], rows("test_batch")[:, 1:])
    assert held[b"labels"] == list(rows("test_batch")[:, 0])


@pytest.mark.parametrize("binary", [False, True], ids=["python", "binary"])
@pytest.mark.parametrize("form", ["archive", "folder", "folder of archive", "folder of folder"])
def test_every_form_gives_the_same_images(tmp_path, binary, form):
    inner = tmp_path / f"cifar-10-{'batches-bin' if binary else 'batches-py'}"
    if "archive" in form:
        path = pack(tmp_path / cifar10.ARCHIVES[binary], contents(binary))
    else:
        path = unpack(inner, contents(binary))
    data = read_cifar10(tmp_path if form.startswith("folder of") else path, SUMS)
    expected = np.concatenate([rows(batch) for batch in BATCHES[:5]])
    np.testing.assert_array_equal(data.train.labels, expected[:, 0])
    planes = expected[:, 1:].reshape(-1, 3, 32, 32)
    np.testing.assert_array_equal(data.train.pixels.transpose(0, 3, 1, 2), planes)
    np.testing.assert_array_equal(data.test.labels, rows("test_batch")[:, 0])
    assert data.train.shape == (3, 32, 32) and data.classes == 10


def test_real_cifar10():
    root = os.environ.get("PCQ_DATA")
    if not root or not Path(root, "cifar10").is_dir():
        pytest.skip("needs real CIFAR-10: set PCQ_DATA to a folder that holds cifar10/")
    data = read_cifar10(Path(root, "cifar10"))
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert list(data.train.labels[:5]) == [6, 9, 9, 4, 1]
    assert list(np.bincount(data.test.labels)) == [1000] * 10
    # Published means of the channels, on the scale 0 to 1.
    means = data.train.pixels.reshape(-1, 3).mean(axis=0) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)


class Creates:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused(tmp_path, protocol):
    evil = pickle.dumps({"data": Creates(tmp_path / "created"), "labels": []}, protocol)
    pickle.loads(evil)["data"].close()  # it works, ...
    (tmp_path / "created").unlink()
    files = {**contents(), "data_batch_3": evil}
    with pytest.raises(ValueError, match=r"data_batch_3 asks for (io|_io|__builtin__)\.open, .*"):
        read_cifar10(pack(tmp_path / "a.tar.gz", files), SUMS)
    assert not (tmp_path / "created").exists()  # ... but not here


@pytest.mark.parametrize(
    "name", ["os system", "numpy load", "numpy.core.multiarray scalar", "builtins eval"]
)
def test_other_names_are_refused_even_of_numpy(tmp_path, name):
    evil = f"c{name.replace(' ', chr(10))}\n.".encode()
    with pytest.raises(ValueError, match="which could run code: it is not a data file"):
        read_cifar10(unpack(tmp_path / FOLDER, {**contents(), "test_batch": evil}), SUMS)


GOOD = official(rows("test_batch"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (GOOD[:40], "is damaged"),
        (GOOD[:-3000], "is damaged"),
        (GOOD[:-100] + bytes([GOOD[-100] ^ 1]) + GOOD[-99:], "test_batch has a wrong checksum"),
        (GOOD.replace(b"U\x02u1", b"U\x02O8"), "an array of b'O8', not of bytes"),
        (GOOD.replace(b"M\x00\x0c\x86", b"M\x00\x0d\x86"), "that its values do not fill"),
        (official(rows("test_batch", 3)), "wrong checksum"),
        (pickle.dumps([1]), "is no batch of CIFAR-10: it has no data and labels"),
        (pickle.dumps({b"data": 1, b"labels": []}), "its images are not 32 x 32 x 3 bytes"),
        (GOOD.replace(b"labels", b"labelx"), "it has no data and labels"),
        (GOOD.replace(b"eU\x04data", b"K\x01eU\x04data"), "not one label for each image"),
        (b"cnumpy\nndarray\n(b.", "is damaged"),
        (b"\x80\x04\x95" + b"\xff" * 8, "is damaged"),
    ],
)
def test_damaged_batch(tmp_path, content, message):
    files = {**contents(), "test_batch": content}
    with pytest.raises(ValueError, match=message):
        read_cifar10(unpack(tmp_path / FOLDER, files), SUMS)


def test_damaged_binary(tmp_path):
    files = contents(binary=True)
    files["data_batch_2.bin"] = files["data_batch_2.bin"][:-1]
    with pytest.raises(ValueError, match=r"data_batch_2.bin is truncated: 12291 bytes"):
        read_cifar10(pack(tmp_path / "a.tar.gz", files), SUMS)


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.9])
def test_truncated_archive(tmp_path, keep):
    path = pack(tmp_path / "a.tar.gz", contents())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=r"is truncated or no .tar.gz archive|lacks"):
        read_cifar10(path, SUMS)


@pytest.mark.parametrize("name", ["../data_batch_1", "/tmp/data_batch_1", "a/../../data_batch_1"])
def test_a_path_that_leaves_the_folder(tmp_path, name):
    path = pack(tmp_path / "a.tar.gz", {name: GOOD}, folder="")
    with pytest.raises(ValueError, match="which leaves its folder: do not use it"):
        read_cifar10(path, SUMS)
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar.gz"]


def test_links_and_huge_files(tmp_path):
    for kind, size, message in (
        (tarfile.SYMTYPE, 0, "which is no plain file"),
        (tarfile.REGTYPE, 1 << 30, "more than any file of CIFAR-10"),
    ):
        member = tarfile.TarInfo(f"{FOLDER}/test_batch")
        member.type, member.size, member.linkname = kind, size, "/etc/passwd"
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
            archive.addfile(member, io.BytesIO(b"\0" * 512) if not size else None)
        with pytest.raises(ValueError, match=message):
            read_cifar10(tmp_path / "a.tar.gz", SUMS)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere does not exist: give cifar-10-python.tar.gz"):
        read_cifar10(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"lacks data_batch_1, .*, test_batch: CIFAR-10 is"):
        read_cifar10(tmp_path)
    files = contents()
    del files["data_batch_4"]
    with pytest.raises(ValueError, match="lacks data_batch_4: "):
        read_cifar10(pack(tmp_path / "a.tar.gz", files), SUMS)


def test_download_reads_where_paddle_put_it(tmp_path, monkeypatch):
    path = pack(tmp_path / "cifar-10-python.tar.gz", contents())
    monkeypatch.setattr("paddle.dataset.common.download", lambda *given: str(path))
    with pytest.raises(ValueError, match="data_batch_1 has a wrong checksum"):
        download_cifar10()


def test_download_that_fails_says_what_to_do(monkeypatch):
    def fails(*_):
        raise RuntimeError("Cannot download\nfrom there")

    monkeypatch.setattr("paddle.dataset.common.download", fails)
    with pytest.raises(ValueError, match=r"\(Cannot download from there\): fetch .* --data"):
        download_cifar10()
