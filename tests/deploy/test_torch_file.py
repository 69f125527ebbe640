"""Checkpoints of PyTorch before 1.6: read without PyTorch, refused where they ask for more than arrays."""
import pickle
import struct

import numpy as np
import pytest

from dlcore.deploy import torch_file
from dlcore.errors import ModelFileError

SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(key, shape, strides, offset=0, count=6, kind=b"FloatStorage"):
    """The opcodes that make one tensor."""
    def sizes(values):
        return b"(" + b"".join(b"K" + bytes([v]) for v in values) + b"t"
    storage = b"(" + text("storage") + b"ctorch\n" + kind + b"\n" + text(key) + text("cpu") + b"K" + bytes([count]) + b"NtQ"
    return b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K" + bytes([offset]) + sizes(shape) + sizes(strides) + b"tR"


def file_of(tmp_path, body, keys=("1",), magic=torch_file.MAGIC):
    data = np.arange(6, dtype="<f4")
    path = tmp_path / "old.th"
    before, after = [pickle.dumps(v, 2) for v in (magic, 1001, SYSTEM)], pickle.dumps(list(keys), 2)
    parts = [*before, b"\x80\x02" + body + b".", after]
    path.write_bytes(b"".join(parts) + b"".join(struct.pack("<q", len(data)) + data.tobytes() for _ in keys))
    return path


def test_tensors_share_a_storage_and_have_strides(tmp_path):
    body = b"}(" + text("a") + tensor("1", (2, 3), (3, 1)) + text("b") + tensor("1", (3, 2), (1, 3)) + text("c") + \
        tensor("1", (2,), (1,), offset=4) + b"u"
    found = torch_file.read(file_of(tmp_path, body))
    whole = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(found["a"], whole) and np.array_equal(found["b"], whole.T) and found["c"].tolist() == [4, 5]


@pytest.mark.parametrize("body, message", [
    (b"cos\nsystem\n(" + text("echo") + b"tR", "asks for something"),
    (b"cbuiltins\neval\n(" + text("1") + b"tR", "asks for something"),
    (tensor("1", (7,), (1,)), "outside its storage"),
    (tensor("1", (2,), (1,), kind=b"QuantisedStorage"), "storage of a kind"),
    (b"(" + text("a"), "storages"), (b"", "malformed"), (b"c__main__\nThing\n)\x81", "opcode")])
def test_what_is_refused(tmp_path, body, message):
    with pytest.raises(ModelFileError, match=message):
        torch_file.read(file_of(tmp_path, body))


def test_a_file_that_ends_early(tmp_path):
    path = file_of(tmp_path, tensor("1", (6,), (1,)))
    for cut in (3, 30, path.stat().st_size - 4):
        short = tmp_path / "short.th"
        short.write_bytes(path.read_bytes()[:cut])
        with pytest.raises(ModelFileError):
            torch_file.read(short)


def test_other_formats(tmp_path):
    with pytest.raises(ModelFileError, match="before 1.6"):
        torch_file.read(file_of(tmp_path, b"}", magic=17))
    new = tmp_path / "new.pt"
    new.write_bytes(b"PK\x03\x04" + bytes(64))
    with pytest.raises(ModelFileError, match="zip"):
        torch_file.read(new)
