cimport cython

from dlcore.graph.memory cimport Memory
from dlcore.graph.tensor cimport Call, Graph, Sum, Tensor


cdef class Lowering:
    cdef public Graph graph
    cdef public object device
    cdef public Memory memory
    cdef public list order, dropped
    cdef public dict known
    cdef public set products, rewritten, constant

    @cython.locals(graph=Graph)
    cpdef lower(self, Call c, str label, Py_ssize_t deep)
    @cython.locals(t=Tensor)
    cpdef tuple held(self, Call c)
    @cython.locals(graph=Graph, names=dict, made=list, out=dict)
    cpdef list expand(self, Call c, alternative)
    @cython.locals(t=Tensor)
    cpdef place_call(self, Call c, str label, bint lowered)
    @cython.locals(t=Tensor, r=Tensor, memory=Memory, parts=list)
    cpdef key(self, Call c, list reads)
    @cython.locals(t=Tensor)
    cpdef bint fixed(self, Call c, list reads)
    cpdef Call hoist(self, Call c)
    cpdef place_sum(self, Sum s)


cpdef Call copied(Call c)
