/* Runs kernels that were linked into it: calls come on stdin, the arrays go back to stdout as the kernels left them.
 * A call: kernel, begin, end, counts of dims, arrays and scalars (int64 each); dims; slots of scalars; then each array as its
 * size in bytes (-1: absent) and its bytes. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

typedef void (*entry)(int64_t, int64_t, const int64_t *, void **, const void *);
extern const entry entries[];

static void get(void *place, size_t bytes)
{
    if (bytes && fread(place, 1, bytes, stdin) != bytes) exit(3);
}

int main(void)
{
    int64_t head[6], dims[32], slots[32], sizes[32];
    void *arrays[32];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        if (head[3] > 32 || head[4] > 32 || head[5] > 32) return 2;
        get(dims, 8 * head[3]);
        get(slots, 8 * head[5]);
        for (int i = 0; i < head[4]; i++) {
            get(&sizes[i], 8);
            arrays[i] = sizes[i] < 0 ? NULL : malloc(sizes[i] + 1);
            if (sizes[i] >= 0) get(arrays[i], sizes[i]);
        }
        entries[head[0]](head[1], head[2], dims, arrays, slots);
        for (int i = 0; i < head[4]; i++) {
            if (sizes[i] > 0) fwrite(arrays[i], 1, sizes[i], stdout);
            free(arrays[i]);
        }
    }
    return 0;
}
