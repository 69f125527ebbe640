cimport cython

from dlcore.graph.memory cimport Life, Memory
from dlcore.graph.tensor cimport Call, Graph, Sum, Tensor


cdef class Sums:
    cdef public Graph graph
    cdef public Memory memory
    cdef public list order, inserted, starts, sums
    cdef public object fill, accumulate
    cdef public set add

    @cython.locals(position=double, memory=Memory, life=Life, tensors=dict, call=Call, s=Sum)
    cpdef find_uses(self, outputs)
    @cython.locals(memory=Memory, new=Tensor, r=Tensor)
    cpdef share_updates(self, double position, Call c)
    @cython.locals(memory=Memory)
    cpdef tuple tile(self, double position, Sum s, list parts, dict times, double first)
    @cython.locals(copied=double)
    cpdef tuple grow(self, double position, Sum s, list parts, dict times, double first)
    @cython.locals(at=double)
    cpdef tuple add_parts(self, double position, Sum s, list parts, dict times, double begun, tuple latest)
    @cython.locals(memory=Memory, r=Tensor)
    cpdef bint whole(self, Tensor t, Sum s)
    @cython.locals(life=Life)
    cpdef bint may_be_place(self, Tensor t, Sum s, double grows)
    @cython.locals(life=Life)
    cpdef bint may_add(self, Tensor t, Sum s)
    cpdef take(self, Tensor t, Sum s, long long offset)
    cpdef tuple copy(self, double position, Sum s, Tensor t, long long offset)
    cpdef double floor(self, Sum s)
    @cython.locals(graph=Graph, call=Call)
    cpdef Call insert(self, double position, declaration, list arguments, Tensor out)
    cpdef str segment_at(self, double position)
