cimport cython

from dlcore.graph.lowering cimport Lowering
from dlcore.graph.memory cimport Memory
from dlcore.graph.sums cimport Sums
from dlcore.graph.tensor cimport Call, Graph, Sum, Tensor


@cython.locals(t=Tensor)
cpdef list _reads(c)
@cython.locals(t=Tensor)
cpdef list _writes(c)
cpdef _offset(Graph graph, Tensor root)


cdef class Planner:
    cdef public Graph graph
    cdef public object device, accesses, groups, program, lifetimes
    cdef public dict outputs, numbers, places, pointers, sizes
    cdef public list clock, order, roots
    cdef public Memory memory
    cdef public Lowering lowering
    cdef public Sums sums
    cdef public set add, absent
    cdef public long long bound, total

    cpdef drop_unread(self)
    cpdef Py_ssize_t number(self, Tensor root)
    @cython.locals(memory=Memory, t=Tensor, r=Tensor, n=cython.Py_ssize_t, at=cython.longlong, c=Call, tensors=dict, flat=dict, absent=set)
    cpdef touch(self, list order)
    @cython.locals(t=Tensor, arrays=list, add=list, unread=set, absent=bint)
    cpdef step(self, Call c, group, dict facts)
    cpdef tuple pointer(self, Tensor t)
