cimport cython


@cython.locals(n=cython.longlong, k=cython.longlong, count=cython.longlong)
cpdef long long wholes(long long[::1] key, long long[::1] start, long long[::1] stop, long long[::1] lowest,
                       long long[::1] highest, long long[::1] cell, signed char[::1] parts)

@cython.locals(n=cython.longlong)
cpdef number(long long[::1] key, long long[::1] cell, long long[::1] low, long long[::1] high)


@cython.locals(n=cython.longlong, a=cython.longlong, cell=cython.longlong, top=cython.longlong, deepest=cython.longlong,
               needs=cython.longlong, depends=cython.int)
cpdef forwards(long long[::1] first, long long[::1] low, long long[::1] high, signed char[::1] write, long long begin,
               long long end, long long near, long long[::1] level, signed char[::1] bound, long long[::1] wrote,
               long long[::1] read)

@cython.locals(n=cython.longlong, a=cython.longlong, cell=cython.longlong, needed=cython.longlong,
               far=cython.longlong)
cpdef backwards(long long[::1] first, long long[::1] low, long long[::1] high, signed char[::1] write, long long begin,
                long long end, long long[::1] level, signed char[::1] bound, long long[::1] wrote, long long[::1] read)

@cython.locals(n=cython.longlong, a=cython.longlong, k=cython.longlong)
cpdef lives(long long[::1] first, long long[::1] key, long long[::1] groups, long long[::1] start, long long[::1] end)

@cython.locals(n=cython.longlong, total=cython.longlong, most=cython.longlong)
cpdef long long alive(long long[::1] start, long long[::1] end, long long[::1] size, long long[::1] change)

@cython.locals(n=cython.longlong, k=cython.longlong, count=cython.longlong, other=cython.longlong, free=cython.longlong)
cpdef first_fit(long long[::1] start, long long[::1] end, long long[::1] size, long long[::1] order, long long[::1] at,
                long long[::1] placed)
