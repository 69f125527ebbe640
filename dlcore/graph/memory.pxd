cimport cython

from dlcore.graph.tensor cimport Tensor

cdef dict DTYPES


cdef class Life:
    cdef public Tensor tensor
    cdef public double first, last
    cdef public Py_ssize_t reads, writes, plain
    cdef public bint kept
    cdef public list pending

    cpdef double end(self)
    cpdef join(self, Life other)


cdef class Memory:
    cdef public dict alias, same, made, latest, lives
    cdef public set hoisted

    @cython.locals(at=cython.longlong, past=cython.longlong, begin=Tensor, path=list)
    cpdef tuple root(self, Tensor t)
    cpdef Tensor memory(self, Tensor t)
    @cython.locals(source=Tensor)
    cpdef Tensor version(self, Tensor t)
    cpdef tuple written(self, Tensor t)
    @cython.locals(r=Tensor)
    cpdef Life life(self, Tensor t)
    @cython.locals(life=Life, kind=str)
    cpdef use(self, double position, call, item, Tensor t)
    @cython.locals(life=Life)
    cpdef merge(self, Tensor r, Tensor into, at)
