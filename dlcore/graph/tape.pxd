cimport cython

from dlcore.graph.tensor cimport Entry, Graph


@cython.locals(e=Entry, n=cython.Py_ssize_t, found=list, lines=list)
cpdef list dependent(Graph graph, list tensors, set depends, Py_ssize_t since)
cpdef list back(Graph graph, Entry e, list douts)
