from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paddle_custom_quant.training.data import download_mnist, mnist, read_mnist
from paddle_custom_quant.training.data.mnist import NAMES, read_idx


def idx(values: np.ndarray) -> bytes:
    shape = struct.pack(f">{values.ndim}I", *values.shape)
    return bytes([0, 0, 8, values.ndim]) + shape + values.tobytes()


def write(folder: Path, counts: tuple[int, int] = (7, 3)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    arrays = {}
    for (images, labels), count in zip(mnist.FILES.values(), counts):
        arrays[images] = random.integers(0, 256, (count, 28, 28)).astype(np.uint8)
        arrays[labels] = random.integers(0, 10, count).astype(np.uint8)
    for name, values in arrays.items():
        (folder / name).write_bytes(gzip.compress(idx(values)))
    return arrays


def test_reads_what_was_written(tmp_path):
    arrays = write(tmp_path)
    data = read_mnist(tmp_path)
    for part, (images, labels) in zip((data.train, data.test), mnist.FILES.values()):
        np.testing.assert_array_equal(part.pixels, arrays[images])
        np.testing.assert_array_equal(part.labels, arrays[labels])
    assert data.classes == 10


def test_reads_in_a_process_that_holds_paddle(tmp_path):
    """Paddle 2.6 exports zlib's symbols: a zlib that is loaded after it crashes."""
    write(tmp_path)
    code = "import sys, paddle_custom_quant.training.data as d; print(d.read_mnist(sys.argv[1]))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0 and done.stdout.startswith("Dataset(name='MNIST'"), done.stderr


def test_real_mnist(mnist_folder):
    data = read_mnist(mnist_folder)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert list(data.train.labels[:5]) == [5, 0, 4, 1, 9]
    assert list(data.test.labels[:5]) == [7, 2, 1, 0, 4]
    # Published mean of the training pixels, on the scale 0 to 1.
    assert data.train.pixels.mean() / 255 == pytest.approx(0.1307, abs=5e-5)


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="nowhere is not a folder: give the one that holds"):
        read_mnist(tmp_path / "nowhere")


def test_empty_folder_names_what_it_lacks(tmp_path):
    with pytest.raises(ValueError, match=", ".join(NAMES)):
        read_mnist(tmp_path)


def test_one_file_missing(tmp_path):
    write(tmp_path)
    (tmp_path / NAMES[3]).unlink()
    with pytest.raises(ValueError, match=f"lacks {NAMES[3]}: "):
        read_mnist(tmp_path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("keep", [0, 9, 0.5, -1], ids=["empty", "header", "half", "last-byte"])
def test_truncated_gzip(tmp_path, name, keep):
    write(tmp_path)
    content = (tmp_path / name).read_bytes()
    end = int(len(content) * keep) if isinstance(keep, float) else keep
    (tmp_path / name).write_bytes(content[:end])
    with pytest.raises(ValueError, match=rf"{name} (cannot be read|is truncated)"):
        read_mnist(tmp_path)


SQUARE = np.zeros((3, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no gzip at all", "cannot be read"),
        (gzip.compress(b"hello"), "is truncated: its IDX header"),
        (gzip.compress(b"plain text, long enough for a header"), "is not an IDX file of 3-dim"),
        (gzip.compress(idx(SQUARE[:, 0, 0])), "truncated|not an IDX file of 3-dim"),
        (gzip.compress(idx(SQUARE)[:-1]), "is truncated: its header announces 2352 bytes"),
        (gzip.compress(idx(SQUARE) + b"x"), "goes on after its end"),
        (gzip.compress(bytes([0, 0, 8, 3]) + b"\xff" * 12), "is truncated"),
        (gzip.compress(idx(SQUARE[:, :27])), r"holds images of \(27, 28\)"),
        (gzip.compress(idx(SQUARE[:2])), "holds 2 images, .* 3 labels"),
    ],
    ids=["raw", "short", "text", "labels", "cut", "long", "huge-header", "size", "count"],
)
def test_damaged_images(tmp_path, content, message):
    write(tmp_path, counts=(7, 3))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_mnist(tmp_path)


def test_damaged_byte_inside_is_noticed(tmp_path):
    write(tmp_path)
    path = tmp_path / NAMES[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{NAMES[0]} cannot be read"):
        read_mnist(tmp_path)


def test_label_that_is_no_digit(tmp_path):
    write(tmp_path)
    (tmp_path / NAMES[3]).write_bytes(gzip.compress(idx(np.array([1, 10, 2], np.uint8))))
    with pytest.raises(ValueError, match="holds label 10, MNIST's are 0 to 9"):
        read_mnist(tmp_path)


def test_no_images(tmp_path):
    write(tmp_path, counts=(7, 0))
    with pytest.raises(ValueError, match="holds no images"):
        read_mnist(tmp_path)


def test_read_idx_of_one_dimension(tmp_path):
    path = tmp_path / "values.gz"
    path.write_bytes(gzip.compress(idx(np.arange(5, dtype=np.uint8))))
    np.testing.assert_array_equal(read_idx(path, 1), np.arange(5))


def test_download_reads_where_paddle_put_it(tmp_path, monkeypatch):
    arrays = write(tmp_path)

    class Fetched:
        def __init__(self, mode, download, backend):
            images, labels = mnist.FILES[mode]
            self.image_path, self.label_path = str(tmp_path / images), str(tmp_path / labels)

    monkeypatch.setattr("paddle.vision.datasets.MNIST", Fetched)
    data = download_mnist()
    np.testing.assert_array_equal(data.test.pixels, arrays[NAMES[2]])


def test_download_that_fails_says_what_to_do(monkeypatch):
    def fails(**_):
        raise RuntimeError("Cannot download\nfrom there")

    monkeypatch.setattr("paddle.vision.datasets.MNIST", fails)
    with pytest.raises(ValueError, match=r"\(Cannot download from there\): fetch .* --data"):
        download_mnist()
