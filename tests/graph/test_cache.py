"""Programs by shape, least recently used out first, within a limit in bytes."""
from types import SimpleNamespace

from dlcore.graph import ProgramCache


def program(size):
    return SimpleNamespace(sizes={"arena": size, "weights": 10 ** 9})


def test_the_one_not_used_for_longest_goes_first():
    cache, made = ProgramCache(limit_bytes=100), []

    def get(key, size=40):
        return cache.get(key, lambda: made.append(key) or program(size))
    get("a"), get("b")
    assert get("a").sizes["arena"] == 40 and made == ["a", "b"] and cache.bytes == 80
    get("c")                            # b was not used for longest
    assert "b" not in cache and "a" in cache and "c" in cache and cache.bytes == 80
    get("b")
    assert made == ["a", "b", "c", "b"] and "a" not in cache


def test_the_newest_stays_even_over_the_limit():
    cache = ProgramCache(limit_bytes=100)
    cache.get("a", lambda: program(40))
    big = cache.get("b", lambda: program(1000))
    assert len(cache) == 1 and cache.get("b", lambda: None) is big
    cache.clear()
    assert len(cache) == 0 and cache.bytes == 0


def test_an_instance_counts_as_its_program():
    cache = ProgramCache(limit_bytes=100)
    cache.get("a", lambda: SimpleNamespace(program=program(30)))
    assert cache.bytes == 30
