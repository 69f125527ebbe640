"""Images through a narrow code and back: `Autoencoder`, and the task `autoencode` of the command line."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.errors import DataError, UsageError
from dlcore.models.variational import DIVERGENCE, RECONSTRUCTION
from dlcore.tasks import recipe
from dlcore.tasks.estimator import Estimator, renamed
from dlcore.tasks.image_estimator import SHOWN, ImageEstimator, images_and_labels, labelled_as, read_parts
from dlcore.tasks.kinds import number, whole
from dlcore.tasks.task import Sections

if TYPE_CHECKING:
    from dlcore.training.callbacks import Callback
    from dlcore.training.model import Model

LIKELIHOODS = ("bernoulli", "gaussian")
# architecture -> (a line about it, its own defaults)
ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "vae": ("variational: codes are drawn, and images can be generated", {}),
    "conv": ("the plain one: convolutions to a code and back", {"likelihood": "gaussian"})}
_PIECE = 1024               # images whose numbers are held at once


class Autoencoder(ImageEstimator):
    """A code of few numbers for each image, the image that the code stands for, and how unusual an image is.

    arch        "vae", variational, or "conv", the plain one; `Autoencoder.of(arch)` has the parameters that suit it
    latent      numbers of a code;   filters: of each convolution that halves the size;   hidden: widths of dense layers
    likelihood  of a pixel given the code: "bernoulli", or "gaussian" with the standard deviation `noise`
    beta        factor of the divergence in the loss (Higgins et al., beta-VAE, 2017)
    anomalies   labels, as "7" or "7,9", of images that are not trained on; `evaluate` says how well the score tells them apart
    sample_every   steps between the pictures that `grid_callback` writes; 0: after each epoch

    `fit(x)`, `predict(x)` (anomaly scores), `reconstruct(x)`, `transform(x)` (codes), `inverse_transform(codes)`, `generate(n)`,
    `evaluate(x)`, `save(path)`.   Labels are looked at for `anomalies` alone.
    """

    task, _kind = "autoencode", "autoencoder"
    _sections = {"data": ("val_split", "anomalies"),
                 "model": ("latent", "filters", "hidden", "likelihood", "noise", "beta"),
                 "train": ("epochs", "batch", "optimizer", "lr", "schedule", "weight_decay", "patience", "sample_every")}

    def __init__(self, arch: str = "vae", latent: int = 16, filters: Sequence[int] = (32, 64), hidden: Sequence[int] = (256,),
                 likelihood: str = "bernoulli", noise: float = 0.1, beta: float = 1.0, anomalies: str = "", epochs: int = 20,
                 batch_size: int = 128, lr: float = 1e-3, optimizer: str = "adam", schedule: str = "cosine",
                 weight_decay: float = 0.0, patience: int = 0, val_split: float = 0.1, sample_every: int = 0,
                 random_state: int | None = 0, training: Mapping[str, Any] | None = None):
        self.arch, self.latent, self.filters, self.hidden = arch, latent, filters, hidden
        self.likelihood, self.noise, self.beta, self.anomalies = likelihood, noise, beta, anomalies
        self.epochs, self.batch_size, self.lr, self.optimizer = epochs, batch_size, lr, optimizer
        self.schedule, self.weight_decay, self.patience, self.val_split = schedule, weight_decay, patience, val_split
        self.sample_every, self.random_state, self.training = sample_every, random_state, training

    @classmethod
    def of(cls, arch: str, **params: Any) -> Self:
        """An estimator of this architecture with its own defaults where `params` say nothing.  Raises `UsageError`."""
        return cls(**{**_known(arch), **params}, arch=arch)

    @property
    def variational(self) -> bool:
        return self.arch == "vae"

    def _check_params(self) -> None:
        super()._check_params()
        _known(self.arch)

        def require(holds: bool, name: str, expected: str) -> None:
            if not holds:
                raise UsageError(f"{name} = {getattr(self, name)!r} is of no use", expected=expected)
        filters = self.filters
        require(whole(self.latent, 1), "latent", "a whole number from 1")
        listed = isinstance(filters, (list, tuple)) and all(whole(n, 1) for n in filters)
        require(listed, "filters", "a list of whole numbers from 1")
        require(self.likelihood in LIKELIHOODS, "likelihood", ", ".join(LIKELIHOODS))
        require(number(self.noise) and self.noise > 0, "noise", "a number above 0")
        require(number(self.beta) and self.beta >= 0, "beta", "a number from 0")
        require(isinstance(self.anomalies, str), "anomalies", "labels with commas between them, or nothing")
        require(whole(self.sample_every, 0), "sample_every", "a whole number from 0")

    # ---- training ----------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
            callbacks: Sequence[Callback] = (), log: Callable[[str], None] | None = None) -> Self:
        """Trains on images; `y`, labels, are needed for `anomalies` alone.  Other arguments and errors: see `Estimator.fit`."""
        self._check_params()
        x, y = images_and_labels(x, y)
        rows = self._usual(y, log) if self._odd else np.arange(len(x))
        if sample_weight is not None and np.ndim(sample_weight):
            sample_weight = np.asarray(sample_weight)[rows]
        if validation_data is not None:
            given = validation_data if isinstance(validation_data, tuple) else (validation_data, None)
            x_val, y_val = images_and_labels(*given)
            kept = np.arange(len(x_val)) if y_val is None or not self._odd else np.flatnonzero(~labelled_as(y_val, self._odd))
            validation_data = x_val[kept], np.zeros(len(kept))
        super().fit(x[rows] if len(rows) < len(x) else x, np.zeros(len(rows)), sample_weight, validation_data=validation_data,
                    callbacks=callbacks, log=log)
        self.validation_rows_ = rows[self.validation_rows_]
        return self

    @property
    def _odd(self) -> list[str]:
        return [label.strip() for label in self.anomalies.split(",") if label.strip()]

    def _usual(self, y: np.ndarray | None, log: Callable[[str], None] | None) -> np.ndarray:
        """The rows that are no anomalies."""
        if y is None:
            raise DataError("the images have no labels, so those of anomalies cannot be left out", expected="labels",
                            got=f"anomalies = {self.anomalies!r}")
        for label in self._odd:
            if not labelled_as(y, [label]).any():
                raise DataError("no image has this label", where="anomalies", got=label,
                                expected=", ".join(map(str, np.unique(y)[:12].tolist())))
        rows = np.flatnonzero(~labelled_as(y, self._odd))
        if log is not None:
            log(f"{len(y) - len(rows):,} images labelled {', '.join(self._odd)} are not trained on")
        return rows

    def _make(self, shape: tuple[int, ...]) -> tuple[Model, str]:
        from dlcore.models import autoencoder
        network = autoencoder(self._preprocessor.shape, self.latent, filters=self.filters, hidden=self.hidden,
                              variational=self.variational, flat=True, seed=self.seed_)
        return network, f"{self.arch} on {'x'.join(map(str, self._preprocessor.shape))}, codes of {self.latent} numbers"

    def _compile(self, network: Model) -> None:
        of_pixels = "binary_crossentropy" if self.likelihood == "bernoulli" else "mean_squared_error"
        if not self.variational:
            network.compile(recipe.optimizer(self), of_pixels)
            return
        width = self._preprocessor.width
        factor = width if self.likelihood == "bernoulli" else width / (2 * self.noise ** 2)
        network.compile(recipe.optimizer(self), {RECONSTRUCTION: of_pixels, DIVERGENCE: divergence},
                        loss_weights={RECONSTRUCTION: float(factor), DIVERGENCE: float(self.beta)})

    def _train(self, inputs: Any, targets: np.ndarray, weight: np.ndarray | None, validation: Any, callbacks: Sequence[Callback],
               say: Callable[[str], None]) -> None:
        self._shown = (inputs if validation is None else validation[0])[:SHOWN // 2]
        if validation is not None:
            validation = validation[0], self._wanted(validation[0])
        super()._train(inputs, self._wanted(inputs), weight, validation, callbacks, say)

    def _wanted(self, inputs: np.ndarray) -> Any:
        """The targets: the images themselves; that of the divergence is there for its form alone."""
        return [inputs, np.zeros((len(inputs), 1), np.float32)] if self.variational else inputs

    def _outputs(self) -> int:
        return self._preprocessor.width

    def _output_widths(self) -> list[int]:
        return [self._outputs(), 1] if self.variational else [self._outputs()]

    def _fits(self, network: Any) -> bool:
        named = {layer.name: layer for layer in network.layers}
        return {"encoder", "decoder"} <= named.keys() and named["decoder"].network.inputs[0].shape[1:] == (self.latent,)

    # ---- codes and images --------------------------------------------------------------------------------------------
    def _half(self, name: str) -> Model:
        found: Any = next(layer for layer in self.model.layers if layer.name == name)
        return found

    def _encode(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(means, log variances or None) of encoded images."""
        made = self._half("encoder").predict(inputs)
        return (made[0], made[1]) if self.variational else (made, None)

    def transform(self, x: Any) -> np.ndarray:
        """The code of each image, f32 (N, latent); of a variational one the mean."""
        return self._encode(self._inputs(x))[0]

    def inverse_transform(self, codes: Any) -> np.ndarray:
        """The images that codes stand for, f32 (N, H, W) or (N, H, W, C), pixels between 0 and 1."""
        codes = np.asarray(codes, np.float32)
        if codes.ndim != 2 or codes.shape[1] != self.latent:
            raise DataError("these are no codes of this model", expected=f"(N, {self.latent})", got=str(codes.shape))
        return self._images(_sigmoid(self._half("decoder").predict(codes)))

    def reconstruct(self, x: Any) -> np.ndarray:
        """Each image as the model gives it back, f32, pixels between 0 and 1."""
        return self.inverse_transform(self.transform(x))

    def generate(self, n: int = SHOWN, seed: int = 0) -> np.ndarray:
        """n new images, f32 (n, H, W) or (n, H, W, C), pixels between 0 and 1; the same seed gives the same.
        UsageError for a model that is not variational, or where n is below 1."""
        if not self.variational:
            raise UsageError("only a variational autoencoder generates images", got=f"arch = {self.arch!r}",
                             hint='train with --arch vae')
        if n < 1:
            raise UsageError("there is nothing to generate", expected="n from 1", got=str(n))
        return self.inverse_transform(np.random.default_rng(seed).standard_normal((n, self.latent), dtype=np.float32))

    def predict(self, x: Any) -> np.ndarray:
        """How unusual each image is, f32 (N,): of a variational autoencoder what its code's mean leaves unsaid and the divergence,
        in nats (an estimate of -ELBO); of a plain one the mean squared error of a pixel."""
        x = self._checked(x)
        out = np.empty(len(x), np.float32)
        for at in range(0, len(x), _PIECE):
            inputs = self._inputs(x[at:at + _PIECE])
            means, log_variances = self._encode(inputs)
            logits = self._half("decoder").predict(means)
            if log_variances is None:
                out[at:at + _PIECE] = np.square(_sigmoid(logits) - inputs).mean(1)
            else:
                out[at:at + _PIECE] = self._unsaid(inputs, logits) + _divergences(means, log_variances)
        return out

    def _unsaid(self, inputs: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """-log p(image | code) in nats, f64 (N,)."""
        x, u = inputs.astype(np.float64), logits.astype(np.float64)
        if self.likelihood == "bernoulli":
            return (np.logaddexp(0, u) - x * u).sum(1)
        squares = np.square(_sigmoid(u) - x).sum(1) / (2 * self.noise ** 2)
        return squares + x.shape[1] * math.log(self.noise * math.sqrt(2 * math.pi))

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None, *, draws: int = 1, seed: int = 0) -> dict[str, float]:
        """reconstruction_error, the mean squared error of a pixel; of a variational autoencoder, in nats an image,
        reconstruction_nats (-log p(x | z)), kl_nats and their sum with opposite sign, elbo: means over `draws` codes of each image.
        With labels and `anomalies`, auc: how likely an anomaly's score is above another image's; the rest is of the others."""
        x, y = images_and_labels(x, y)
        x = self._checked(x)
        if not len(x):
            raise DataError("there are no images to evaluate")
        odd = labelled_as(y, self._odd) if y is not None and self._odd else np.zeros(len(x), bool)
        found = self._measures(x[~odd], draws, np.random.default_rng(seed)) if not odd.all() else {}
        if odd.any() and not odd.all():
            from dlcore.metrics.ranking import roc_auc_score
            found["auc"] = float(roc_auc_score(odd, self.predict(x)))
        return found

    def _measures(self, x: np.ndarray, draws: int, rng: np.random.Generator) -> dict[str, float]:
        error = unsaid = kl = 0.0
        for at in range(0, len(x), _PIECE):
            inputs = self._inputs(x[at:at + _PIECE])
            means, log_variances = self._encode(inputs)
            decoder = self._half("decoder")
            error += float(np.square(_sigmoid(decoder.predict(means)) - inputs, dtype=np.float64).mean(1).sum())
            if log_variances is not None:
                kl += float(_divergences(means, log_variances).sum())
                for _ in range(draws):
                    z = means + np.exp(0.5 * log_variances) * rng.standard_normal(means.shape, dtype=np.float32)
                    unsaid += float(self._unsaid(inputs, decoder.predict(z)).sum()) / draws
        found = {"reconstruction_error": error / len(x)}
        if self.variational:
            found |= {"reconstruction_nats": unsaid / len(x), "kl_nats": kl / len(x), "elbo": -(unsaid + kl) / len(x)}
        return found

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The ELBO; of a plain autoencoder minus the reconstruction error."""
        found = self.evaluate(x)
        return found["elbo"] if self.variational else -found["reconstruction_error"]

    # ---- pictures, export --------------------------------------------------------------------------------------------
    def picture(self, x: Any) -> np.ndarray:
        """A picture, u8: images, each row of eight above what the model makes of them."""
        from dlcore.report import png
        inputs = self._inputs(x)
        whole = np.zeros((-(-len(inputs) // 8) * 8, inputs.shape[1]), np.float32)
        whole[:len(inputs)] = inputs
        made = np.zeros_like(whole)
        made[:len(inputs)] = self.reconstruct(x).reshape(len(inputs), -1)
        rows = np.stack([whole.reshape(-1, 8, inputs.shape[1]), made.reshape(-1, 8, inputs.shape[1])], axis=1)
        return png.grid(self._images(rows.reshape(-1, inputs.shape[1])), 8)

    def grids(self) -> dict[str, np.ndarray]:
        from dlcore.report import png
        shown = self._images(self._shown) / np.float32(self._preprocessor.scale)
        found = {"reconstructions": self.picture(shown)}
        return found | ({"samples": png.grid(self.generate(SHOWN), 8)} if self.variational else {})

    def answers(self, samples: np.ndarray) -> np.ndarray:
        made = self.model.predict(samples)
        return made[0] if self.variational else made


def divergence(y_true: Any, y_pred: Any) -> Any:
    """The loss of an output that is a loss itself."""
    return y_pred


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits))


def _divergences(means: np.ndarray, log_variances: np.ndarray) -> np.ndarray:
    """Of each code's distribution from the standard normal one, in nats, f64 (N,)."""
    m, v = means.astype(np.float64), log_variances.astype(np.float64)
    return 0.5 * (np.square(m) + np.exp(v) - 1 - v).sum(1)


def _known(arch: Any) -> Mapping[str, Any]:
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        raise UsageError(f"arch = {arch!r} is no autoencoder", expected=", ".join(ARCHITECTURES))
    return ARCHITECTURES[arch][1]


class AutoencodeTask:
    """`autoencode` on the command line."""

    name = "autoencode"
    summary = "images through a narrow code and back: samples, anomaly scores"
    architectures: Mapping[str, str] = {name: text for name, (text, _) in ARCHITECTURES.items()}
    presets: Mapping[str, Sections] = {}
    space = {"train.lr": "3e-4..3e-3:log", "model.latent": "8, 16, 32", "model.hidden": "[[128], [256], [512]]"}

    def defaults(self, arch: str) -> Sections:
        found = Autoencoder.of(arch or "vae").sections()
        return {**found, "data": {**found["data"], "size": "", "skip-bad": False}}

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None, size: str | int = "", skip_bad: bool = False) -> Parts:
        return read_parts(source, label_col, text_col, like, size, skip_bad)

    def create(self, train: Dataset, arch: str = "", seed: int = 0, size: str = "", skip_bad: bool = False,
               **options: Any) -> Autoencoder:
        return Autoencoder.of(arch or "vae", random_state=seed, **renamed(options))


TASK = AutoencodeTask()
ESTIMATORS = {"Autoencoder": Autoencoder}
