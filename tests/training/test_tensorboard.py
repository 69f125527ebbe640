"""Event files, by the format's own definition and, where it is installed, by TensorBoard's reader."""

import struct

import numpy as np
import pytest

from dlcore import layers
from dlcore.errors import UsageError, WriteError
from dlcore.training import Sequential
from dlcore.training.tensorboard import EventWriter, ScalarLog, TensorBoard, crc32c, event, masked, record

try:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
except ImportError:
    EventFileLoader = None


def records(path):
    """The data of a file's records, their checksums checked by the definition of TFRecord."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        length, check = struct.unpack_from("<QI", data, place)
        assert check == masked(crc32c(data[place : place + 8]))
        content = data[place + 12 : place + 12 + length]
        assert struct.unpack_from("<I", data, place + 12 + length)[0] == masked(crc32c(content))
        yield content
        place += 16 + length
    assert place == len(data)


def fields(data):
    """(number, value) of a protocol buffer's fields."""
    place = 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while place < len(data):
        key = varint()
        size = {1: 8, 5: 4}.get(key & 7) or (varint() if key & 7 == 2 else 0)
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        value = data[place : place + size]
        place += size
        yield key >> 3, struct.unpack("<d" if size == 8 else "<f", value)[0] if key & 7 != 2 else value


def points(path):
    """(step, tag, value) of a file's scalars."""
    for data in records(path):
        found = dict(fields(data))
        if 5 in found:
            for _, value in fields(found[5]):
                scalar = dict(fields(value))
                yield found.get(2, 0), scalar[1].decode(), scalar[2]


def test_checksums_are_those_of_rfc_3720():
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_a_file_begins_with_its_version(tmp_path):
    EventWriter(tmp_path).close()
    (path,) = tmp_path.iterdir()
    assert ".tfevents." in path.name
    (first,) = records(path)
    assert dict(fields(first))[3] == b"brain.Event:2" and dict(fields(first))[1] > 1e9


def test_long_values_and_great_steps():
    data = event(1.5, 1 << 40, {"a" * 300: -2.5})
    found = dict(fields(data))
    assert found[1] == 1.5 and found[2] == 1 << 40
    assert dict(fields(dict(fields(found[5]))[1])) == {1: b"a" * 300, 2: -2.5}
    assert len(record(data)) == len(data) + 16


def trained(tmp_path, **options):
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    model = Sequential([layers.Dense(1, input_shape=(4,))])
    model.compile("sgd", "mean_squared_error")
    y = x.sum(1, keepdims=True)
    board = TensorBoard(tmp_path / "logs", **options)
    return model.fit(x, y, batch_size=16, epochs=3, validation_data=(x, y), verbose=0, callbacks=[board])


def test_a_training_is_logged(tmp_path):
    history = trained(tmp_path).history
    (train,), (validation,) = (list((tmp_path / "logs" / part).iterdir()) for part in ("train", "validation"))
    found = list(points(train))
    assert [(s, t) for s, t, _ in found] == [(s, t) for s in range(3) for t in ("epoch_loss", "epoch_learning_rate")]
    assert [v for _, t, v in found if t == "epoch_loss"] == pytest.approx(history["loss"], rel=1e-6)
    assert [v for _, _, v in points(validation)] == pytest.approx(history["val_loss"], rel=1e-6)


def test_steps_are_logged_too(tmp_path):
    trained(tmp_path, update_freq=2)
    (train,) = (tmp_path / "logs" / "train").iterdir()
    assert [s for s, tag, _ in points(train) if tag == "batch_loss"] == [2, 4, 6, 8, 10, 12]


@pytest.mark.skipif(
    EventFileLoader is None, reason="tensorboard is not installed; the format is checked above by its definition"
)
def test_tensorboard_reads_it(tmp_path):
    log = ScalarLog(tmp_path)
    for step in range(5):
        log.add(step, {"loss": 1 / (step + 1), "val_loss": 2.0 * step})
    log.close()
    (path,) = (tmp_path / "train").iterdir()
    events = list(EventFileLoader(str(path)).Load())
    assert events[0].file_version == "brain.Event:2"
    values = [
        (e.step, v.tag, v.tensor.float_val[0] if v.HasField("tensor") else v.simple_value)
        for e in events
        for v in e.summary.value
    ]
    assert [(s, t) for s, t, _ in values] == [(s, "epoch_loss") for s in range(5)]
    assert [v for _, _, v in values] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])


def test_what_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot write event files"):
        EventWriter(tmp_path / "file" / "logs")
    for wrong in ("batch", 0, True):
        with pytest.raises(UsageError, match="update_freq"):
            TensorBoard(tmp_path, update_freq=wrong)
