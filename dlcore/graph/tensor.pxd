cimport cython


cdef class Tensor:
    cdef public Graph graph
    cdef public tuple shape
    cdef public str dtype, buffer, name
    cdef public object call
    cdef public Tensor base, source
    cdef public long long offset, size, bytes
    cdef public Py_ssize_t version, born


cdef class Call:
    cdef public object declaration
    cdef public dict tensors, old, scalars, dims, bound
    cdef public str segment, scope, label
    cdef public bint again


cdef class Sum:
    cdef public Tensor total
    cdef public list parts
    cdef public str segment, scope


cdef class Entry:
    cdef public str name, scope
    cdef public list inputs, outputs
    cdef public object backward


cdef class _Inside:
    cdef Graph graph


cdef class Graph:
    cdef public object parameters
    cdef public bint wide, again, lowering
    cdef public str precision, product, segment, path
    cdef public list calls, tape
    cdef public dict leaves, updates, newest, rows
    cdef public Py_ssize_t depth, nodes, versions

    cpdef str dtype(self, str name)
    cpdef str where(self, what=*)
    cpdef record(self, str name, inputs, outputs, backward)
    @cython.locals(root=Tensor, t=Tensor)
    cpdef Tensor readable(self, declaration, item, value)
    @cython.locals(t=Tensor, bound=dict, tensors=dict)
    cpdef dict bind(self, declaration, spec, dict read, dict given)
    @cython.locals(t=Tensor, key=object)
    cpdef tuple resolve(self, declaration, spec, dict read, dict given, dict sizes)
    @cython.locals(root=Tensor, new=Tensor)
    cpdef Tensor next_version(self, Call call, Tensor old, bint silent)
