# cython: boundscheck=False, wraparound=False
"""The inner loops of `schedule.py` and `layout.py`, on arrays of integers.  `loops.pxd` makes them C."""
from __future__ import annotations

FAR = 1 << 60       # beyond every group


def wholes(key, start, stop, lowest, highest, cell, parts):
    """Marks in `parts` the memory that is not always touched in the same range; the others get a cell each."""
    for n in range(len(key)):
        k = key[n]
        if lowest[k] < 0:
            lowest[k] = start[n]
            highest[k] = stop[n]
        elif lowest[k] != start[n] or highest[k] != stop[n]:
            parts[k] = 1
    count = 0
    for k in range(len(cell)):
        if lowest[k] >= 0 and not parts[k]:
            cell[k] = count
            count += 1
    return count


def number(key, cell, low, high):
    """The cell of every access to memory that has one."""
    for n in range(len(key)):
        low[n] = cell[key[n]]
        high[n] = low[n] + 1


def forwards(first, low, high, write, begin, end, near, level, bound, wrote, read):
    """As early as may be.  wrote, read: the last level that wrote or read a cell since it was written."""
    top = 0
    for n in range(begin, end):
        deepest = max(0, top - near)
        depends = 0
        for a in range(first[n], first[n + 1]):
            for cell in range(low[a], high[a]):
                needs = wrote[cell] + 1
                if write[a] and read[cell] >= needs:
                    needs = read[cell] + 1
                if needs > 0:
                    depends = 1
                    if needs > deepest:
                        deepest = needs
        for a in range(first[n], first[n + 1]):
            for cell in range(low[a], high[a]):
                if write[a]:
                    wrote[cell] = deepest
                    read[cell] = -1
                elif deepest > read[cell]:
                    read[cell] = deepest
        level[n - begin] = deepest
        bound[n - begin] = depends
        if deepest > top:
            top = deepest


def backwards(first, low, high, write, begin, end, level, bound, wrote, read):
    """What depends on nothing moves to just before its first reader.  wrote, read: the next levels that touch a cell."""
    far = FAR
    for n in range(end - 1, begin - 1, -1):
        if not bound[n - begin]:
            needed = far
            for a in range(first[n], first[n + 1]):
                for cell in range(low[a], high[a]):
                    if wrote[cell] < needed:
                        needed = wrote[cell]
                    if write[a] and read[cell] < needed:
                        needed = read[cell]
            if needed < far:
                level[n - begin] = needed - 1
        for a in range(first[n], first[n + 1]):
            for cell in range(low[a], high[a]):
                if write[a]:
                    wrote[cell] = level[n - begin]
                    read[cell] = far
                elif level[n - begin] < read[cell]:
                    read[cell] = level[n - begin]


def lives(first, key, groups, start, end):
    for n in range(len(groups)):
        for a in range(first[n], first[n + 1]):
            k = key[a]
            if groups[n] < start[k]:
                start[k] = groups[n]
            if groups[n] > end[k]:
                end[k] = groups[n]


def alive(start, end, size, change):
    total = most = 0
    for n in range(len(size)):
        change[start[n]] += size[n]
        change[end[n] + 1] -= size[n]
    for n in range(len(change)):
        total += change[n]
        if total > most:
            most = total
    return most


def first_fit(start, end, size, order, at, placed):
    """placed: those that have a place, lowest first."""
    for count in range(len(order)):
        n = order[count]
        free = 0
        for k in range(count):
            other = placed[k]
            if start[other] <= end[n] and end[other] >= start[n]:
                if at[other] - free >= size[n]:
                    break
                if at[other] + size[other] > free:
                    free = at[other] + size[other]
        at[n] = free
        k = count
        while k > 0 and at[placed[k - 1]] > free:
            placed[k] = placed[k - 1]
            k -= 1
        placed[k] = n
