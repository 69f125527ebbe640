"""Initial values of weights, seeded: the same seed and place give the same numbers.

An initializer is called with a shape and a `numpy.random.Generator`; one that was given a `seed` uses its own generator
instead. Fans: for a matrix [in, out] they are its sizes; for filters [..., C_in, C_out] the leading axes multiply both.

    glorot   scale / mean of the fans    Glorot & Bengio (2010)
    he       2 / fan_in                  He et al. (2015)
    lecun    1 / fan_in                  LeCun et al. (1998)

"normal" draws from a normal cut at two standard deviations whose variance is the one above, "uniform" from +-sqrt(3
variance).
"""
from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np

from dlcore.errors import UsageError, meant

# standard deviation of a standard normal that is cut at +-2
_CUT = 0.87962566103423978


def generator(seed: int, *key: int) -> np.random.Generator:
    """A generator of its own for (seed, key): Philox counts in blocks that do not overlap."""
    return np.random.Generator(np.random.Philox(key=philox_key(seed, *key)))


def philox_key(seed: int, *key: int) -> np.ndarray:
    """The key of that generator, u64[2]."""
    return np.random.SeedSequence([seed, *key]).generate_state(2, np.uint64)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight."""
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    field = math.prod(shape[:-2])
    return field * shape[-2], field * shape[-1]


class Initializer:
    """Base class: subclasses implement `draw(shape, rng)`; constructor arguments are attributes of the same name."""

    def __init__(self, seed: int | None = None):
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """A float32 array of that shape."""
        own = rng if self.seed is None else generator(self.seed)
        return np.asarray(self.draw(tuple(shape), own), np.float32)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must implement draw(shape, rng)")

    def get_config(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in list(inspect.signature(type(self).__init__).parameters)[1:]}


class Zeros(Initializer):
    def __init__(self):
        super().__init__()

    def draw(self, shape, rng):
        return np.zeros(shape, np.float32)


class Ones(Initializer):
    def __init__(self):
        super().__init__()

    def draw(self, shape, rng):
        return np.ones(shape, np.float32)


class Constant(Initializer):
    def __init__(self, value: float = 0.0):
        super().__init__()
        self.value = value

    def draw(self, shape, rng):
        return np.full(shape, self.value, np.float32)


class RandomNormal(Initializer):
    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(self, shape, rng):
        return self.mean + self.stddev * rng.standard_normal(shape)


class RandomUniform(Initializer):
    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def draw(self, shape, rng):
        return rng.uniform(self.minval, self.maxval, shape)


class _Variance(Initializer):
    """Variance `scale` / fan, where fan is fan_in, or the mean of both."""

    scale, both, uniform = 1.0, False, False

    def draw(self, shape, rng):
        fan_in, fan_out = fans(shape)
        variance = self.scale / max(1.0, (fan_in + fan_out) / 2 if self.both else fan_in)
        if self.uniform:
            limit = math.sqrt(3 * variance)
            return rng.uniform(-limit, limit, shape)
        return cut_normal(shape, rng) * (math.sqrt(variance) / _CUT)


def cut_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers, those beyond +-2 drawn again."""
    x = rng.standard_normal(shape)
    while (beyond := np.abs(x) > 2).any():
        x[beyond] = rng.standard_normal(np.count_nonzero(beyond))
    return x


class GlorotNormal(_Variance):
    both = True


class GlorotUniform(_Variance):
    both, uniform = True, True


class HeNormal(_Variance):
    scale = 2.0


class HeUniform(_Variance):
    scale, uniform = 2.0, True


class LecunNormal(_Variance):
    pass


class LecunUniform(_Variance):
    uniform = True


class Orthogonal(Initializer):
    """Orthonormal rows or columns, times `gain` (Saxe et al., 2014)."""

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        super().__init__(seed)
        self.gain = gain

    def draw(self, shape, rng):
        if len(shape) < 2:
            raise UsageError("an orthogonal weight has at least two axes", got=f"shape {shape}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.sign(np.diag(r))                        # so that the draw is uniform over orthogonal matrices
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


INITIALIZERS: dict[str, type[Initializer]] = {
    "zeros": Zeros, "ones": Ones, "constant": Constant, "random_normal": RandomNormal, "random_uniform": RandomUniform,
    "glorot_normal": GlorotNormal, "glorot_uniform": GlorotUniform, "he_normal": HeNormal, "he_uniform": HeUniform,
    "lecun_normal": LecunNormal, "lecun_uniform": LecunUniform, "orthogonal": Orthogonal,
}
_NAMES = {cls: name for name, cls in INITIALIZERS.items()}


def get(initializer: str | Initializer | dict) -> Initializer:
    """An initializer from its name, from what `serialise` returned, or as it is."""
    if isinstance(initializer, str):
        initializer = {"name": initializer}
    if isinstance(initializer, dict) and initializer.get("name") in INITIALIZERS:
        try:
            return INITIALIZERS[initializer["name"]](**{k: v for k, v in initializer.items() if k != "name"})
        except TypeError as error:
            raise UsageError(f"initializer {initializer['name']!r}: {error}") from None
    if callable(initializer):
        return initializer
    name = initializer.get("name") if isinstance(initializer, dict) else initializer
    raise UsageError("unknown initializer", expected=", ".join(INITIALIZERS), got=repr(name), hint=meant(name, INITIALIZERS))


def serialise(initializer: Initializer) -> dict[str, Any]:
    """{"name": "glorot_uniform", "seed": None}; an initializer of the user's own cannot be written to a file."""
    if type(initializer) not in _NAMES:
        raise UsageError(f"{type(initializer).__name__} cannot be saved", hint="use one of " + ", ".join(INITIALIZERS))
    return {"name": _NAMES[type(initializer)], **initializer.get_config()}
