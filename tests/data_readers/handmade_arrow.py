"""An Arrow C stream made by hand with ctypes: what a producer of the interface does, without one."""

from __future__ import annotations

import ctypes

import numpy as np

from dlcore.data.arrow import (
    _RELEASE_ARRAY,
    _RELEASE_SCHEMA,
    _RELEASE_STREAM,
    ArrowArray,
    ArrowSchema,
    ArrowStream,
)


class HandmadeStream:
    """columns: name -> (format, buffers as arrays or None, null_count[, dictionary (format, buffers, length)]); `batches` times.

    `released` counts what was given back: schema, arrays, stream."""

    def __init__(self, columns, length, batches=1, offset=0, error=""):
        self.columns, self.length, self.left, self.offset, self.error = columns, length, batches, offset, error
        self.released = {"schema": 0, "array": 0, "stream": 0}
        self.kept, self.message = [], ctypes.c_char_p(error.encode())
        self.callbacks = {
            "schema": _RELEASE_SCHEMA(self._release("schema")),
            "array": _RELEASE_ARRAY(self._release("array")),
            "stream": _RELEASE_STREAM(self._release("stream")),
        }

    def _release(self, what):
        def release(pointer):
            self.released[what] += 1
            # the consumer knows by a null pointer that it is gone
            kind = type(pointer.contents)
            ctypes.memset(ctypes.addressof(pointer.contents) + kind.release.offset, 0, ctypes.sizeof(ctypes.c_void_p))

        return release

    def _schema(self, out, format, name=b"", children=(), dictionary=None):
        out.format, out.name, out.flags, out.n_children = format.encode(), name, 2, len(children)
        pointers = (ctypes.POINTER(ArrowSchema) * max(1, len(children)))(*[ctypes.pointer(c) for c in children])
        self.kept += [pointers, *children]
        out.children = ctypes.cast(pointers, ctypes.POINTER(ctypes.POINTER(ArrowSchema)))
        if dictionary is not None:
            out.dictionary = ctypes.pointer(dictionary)
            self.kept.append(dictionary)
        out.release = self.callbacks["schema"]
        return out

    def _array(self, out, length, buffers, nulls=0, children=(), dictionary=None, offset=0):
        kept = [None if b is None else np.ascontiguousarray(b) for b in buffers]
        addresses = (ctypes.c_void_p * max(1, len(kept)))(*[None if b is None else b.ctypes.data for b in kept])
        pointers = (ctypes.POINTER(ArrowArray) * max(1, len(children)))(*[ctypes.pointer(c) for c in children])
        self.kept += [kept, addresses, pointers, *children]
        out.length, out.null_count, out.offset, out.n_buffers, out.n_children = (
            length,
            nulls,
            offset,
            len(kept),
            len(children),
        )
        out.buffers = ctypes.cast(addresses, ctypes.POINTER(ctypes.c_void_p))
        out.children = ctypes.cast(pointers, ctypes.POINTER(ctypes.POINTER(ArrowArray)))
        if dictionary is not None:
            out.dictionary = ctypes.pointer(dictionary)
            self.kept.append(dictionary)
        out.release = self.callbacks["array"]
        return out

    def _get_schema(self, stream, out):
        children = []
        for name, (format, _, _, *dictionary) in self.columns.items():
            inner = self._schema(ArrowSchema(), dictionary[0][0]) if dictionary else None
            children.append(self._schema(ArrowSchema(), format, name.encode(), dictionary=inner))
        self._schema(out.contents, "+s", children=children)
        return 0

    def _get_next(self, stream, out):
        if self.error and self.left == 1:
            return 5
        if not self.left:
            ctypes.memset(out, 0, ctypes.sizeof(ArrowArray))
            return 0
        self.left -= 1
        children = []
        for _, buffers, nulls, *dictionary in self.columns.values():
            inner = self._array(ArrowArray(), dictionary[0][2], dictionary[0][1]) if dictionary else None
            children.append(
                self._array(ArrowArray(), self.length, buffers, nulls, dictionary=inner, offset=self.offset)
            )
        self._array(out.contents, self.length, [None], children=children)
        return 0

    def __arrow_c_stream__(self, requested_schema=None):
        kinds = dict(ArrowStream._fields_)
        self.stream = ArrowStream(
            kinds["get_schema"](self._get_schema),
            kinds["get_next"](self._get_next),
            kinds["get_last_error"](lambda stream: ctypes.cast(self.message, ctypes.c_void_p).value),
            self.callbacks["stream"],
        )
        make = ctypes.pythonapi.PyCapsule_New
        make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return make(ctypes.addressof(self.stream), b"arrow_array_stream", None)
