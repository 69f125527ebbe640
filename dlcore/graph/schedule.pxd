cdef class Accesses:
    cdef public object first, key, start, stop, write, low, high
    cdef public Py_ssize_t cells

    cpdef add(self, long long key, long long start, long long stop, bint write)
    cpdef next(self)
    cpdef cut(self, Py_ssize_t keys)
