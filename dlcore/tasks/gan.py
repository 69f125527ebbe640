"""Images like those of a data set, made by two networks that learn against each other: `GAN`, and the task `gan`."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dlcore.data.answers import Classes
from dlcore.data.dataset import Dataset, Parts
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.tasks import recipe
from dlcore.tasks.estimator import Estimator, renamed
from dlcore.tasks.image_estimator import SHOWN, ImageEstimator, NoAnswers, images_and_labels, read_parts
from dlcore.tasks.judge import Judge
from dlcore.tasks.kinds import number, whole
from dlcore.tasks.task import Sections

if TYPE_CHECKING:
    from dlcore.graph import Tensor
    from dlcore.training.callbacks import Callback
    from dlcore.training.model import Model

LENET = "lenet"
MEASURED = 10_000           # images that `evaluate` compares, at most
COLUMNS = 8                 # of a grid; of a conditional one as many as classes, up to 10
_UNUSED = ("accumulate", "l1", "l2", "init")    # settings of a recipe that two networks have no use for
# architecture -> (a line about it, its own defaults)
ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "dcgan": ("convolutions with batch normalisation, non-saturating loss", {}),
    "sngan": ("spectral normalisation of the discriminator, hinge loss", {"loss": "hinge", "spectral": True}),
    "wgan-gp": ("Wasserstein distance with a penalty on the critic's gradient",
                {"loss": "wgan-gp", "critic_steps": 5, "lr": 1e-4, "beta1": 0.0, "beta2": 0.9, "epochs": 60})}


class GAN(ImageEstimator):
    """Makes new images like those it was trained on.

    arch          "dcgan" (Radford et al., 2016), "sngan" (Miyato et al., 2018), "wgan-gp" (Gulrajani et al., 2017);
                  `GAN.of(arch)` has the parameters that suit it
    latent        numbers of a code;   filters: of each convolution that halves the size, [] chooses by the size
    conditional   images are made for labels, which training then needs
    loss          "nonsaturating" (Goodfellow et al., 2014), "hinge" or "wgan-gp";   penalty: factor of the gradient's in the last
    spectral      spectral normalisation in place of the discriminator's batch normalisation (which "wgan-gp" has not either)
    critic_steps  steps of the discriminator for one of the generator
    lr, discriminator_lr   learning rates of the two; 0: the same.   beta1, beta2: of optimizers like Adam
    judge         what measures the images: "lenet", one trained on the labelled training images, the path of a run or model of
                  image-classify, or "" for nothing
    val_split     share of the images that is not trained on
    sample_every  steps between the pictures that `grid_callback` writes; 0: after each epoch

    `fit(x, y)`, `generate(n, label=None)`, `predict(x)` (how real an image looks), `evaluate(x)`, `save(path)`.
    training={"ema": 0.999} keeps averages of the generator's weights and makes images with them.
    """

    task, _kind = "gan", "generator"
    patience = 0
    judge_: Judge | None = None
    epoch_metrics = ("d_loss", "g_loss", "real", "fake")
    _sections = {"data": ("val_split",),
                 "model": ("latent", "filters", "conditional", "loss", "spectral", "penalty"),
                 "train": ("epochs", "batch", "optimizer", "lr", "discriminator_lr", "beta1", "beta2", "critic_steps",
                           "schedule", "weight_decay", "sample_every", "judge")}

    def __init__(self, arch: str = "dcgan", latent: int = 100, filters: Sequence[int] = (), conditional: bool = False,
                 loss: str = "nonsaturating", spectral: bool = False, penalty: float = 10.0, epochs: int = 20,
                 batch_size: int = 64, lr: float = 2e-4, discriminator_lr: float = 0.0, beta1: float = 0.5, beta2: float = 0.999,
                 critic_steps: int = 1, optimizer: str = "adam", schedule: str = "constant", weight_decay: float = 0.0,
                 val_split: float = 0.0, sample_every: int = 0, judge: str = LENET, random_state: int | None = 0,
                 training: Mapping[str, Any] | None = None):
        self.arch, self.latent, self.filters, self.conditional = arch, latent, filters, conditional
        self.loss, self.spectral, self.penalty, self.epochs, self.batch_size = loss, spectral, penalty, epochs, batch_size
        self.lr, self.discriminator_lr, self.beta1, self.beta2 = lr, discriminator_lr, beta1, beta2
        self.critic_steps, self.optimizer, self.schedule, self.weight_decay = critic_steps, optimizer, schedule, weight_decay
        self.val_split, self.sample_every, self.judge = val_split, sample_every, judge
        self.random_state, self.training = random_state, training

    @classmethod
    def of(cls, arch: str, **params: Any) -> Self:
        """An estimator of this architecture with its own defaults where `params` say nothing.  Raises `UsageError`."""
        return cls(**{**_known(arch), **params}, arch=arch)

    def _check_params(self) -> None:
        from dlcore.training.adversarial import LOSSES
        self.hidden: Sequence[int] = ()
        super()._check_params()
        _known(self.arch)

        def require(holds: bool, name: str, expected: str) -> None:
            if not holds:
                raise UsageError(f"{name} = {getattr(self, name)!r} is of no use", expected=expected)
        listed = isinstance(self.filters, (list, tuple)) and all(whole(n, 1) for n in self.filters)
        require(whole(self.latent, 1), "latent", "a whole number from 1")
        require(listed, "filters", "a list of whole numbers from 1")
        require(self.loss in LOSSES, "loss", ", ".join(LOSSES))
        for name in ("conditional", "spectral"):
            require(isinstance(getattr(self, name), (bool, np.bool_)), name, "true or false")
        require(number(self.penalty) and self.penalty > 0, "penalty", "a number above 0")
        require(number(self.discriminator_lr) and self.discriminator_lr >= 0, "discriminator_lr", "a number from 0")
        for name in ("beta1", "beta2"):
            require(number(getattr(self, name)) and 0 <= getattr(self, name) < 1, name, "0 <= number < 1")
        require(whole(self.critic_steps, 1), "critic_steps", "a whole number from 1")
        require(whole(self.sample_every, 0), "sample_every", "a whole number from 0")
        require(isinstance(self.judge, str), "judge", "lenet, the path of a model, or nothing")
        defaults = {key: default for key, (default, _, _) in recipe.KEYS.items()}
        for key in _UNUSED:
            if recipe.of(self)[key] != defaults[key]:
                raise UsageError(f"two networks that learn against each other have no {key}", got=str(recipe.of(self)[key]))

    # ---- training ----------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
            callbacks: Sequence[Callback] = (), log: Callable[[str], None] | None = None) -> Self:
        """Trains on images; `y`, labels, are needed where images are `conditional`, and for the judge "lenet".
        Raises `DataError`, `UsageError`, `DivergedError`."""
        self._check_params()
        if sample_weight is not None or validation_data is not None:
            raise UsageError("a GAN has neither sample weights nor validation data", hint="leave them out")
        x, y = images_and_labels(x, y)
        if self.conditional and y is None:
            raise DataError("the images have no labels to make images for", expected="labels", got="conditional = True")
        say = log or (lambda line: None)
        self.judge_, loaded = None, None
        if self.judge == LENET and y is not None and len(np.unique(y)) > 1:
            Classes.fit(y)                                  # what is wrong with the labels is said before the training
        if self.judge not in ("", LENET) and len(x):
            from dlcore.data.preprocess import ImagePreprocessor
            loaded = Judge.loaded(self.judge, ImagePreprocessor.fit(x).shape)
        super().fit(x, y if self.conditional else np.zeros(len(x)), callbacks=callbacks, log=log)
        if self._network.state.epoch >= self.epochs:        # one that was stopped will go on, or needs no measure
            rows = np.setdiff1d(np.arange(len(x)), self.validation_rows_)
            self.judge_ = loaded or self._lenet(x[rows], None if y is None else y[rows], say)
        return self

    def _lenet(self, x: np.ndarray, y: np.ndarray | None, say: Callable[[str], None]) -> Judge | None:
        if self.judge != LENET or y is None or len(np.unique(y)) < 2:
            return None
        return Judge.trained(x, y, self.seed_, say)

    def _fit_answers(self, y: Any) -> list[str]:
        if not self.conditional:
            return super()._fit_answers(y)
        known = Classes.fit(y)
        self._answers: Any = known
        return [f"images are made for {len(known)} labels: {known.listed()}"]

    @classmethod
    def _answers_from_json(cls, value: Any, where: str) -> Any:
        return Classes.from_json(value, where) if isinstance(value, list) else NoAnswers.from_json(value, where)

    @property
    def _classes(self) -> int:
        return len(self._answers) if self.conditional else 0

    def _one_hot(self, ids: np.ndarray) -> np.ndarray:
        return np.eye(self._classes, dtype=np.float32)[ids]

    def _inputs(self, x: Any) -> np.ndarray:
        return 2 * super()._inputs(x) - np.float32(1)

    def _make(self, shape: tuple[int, ...]) -> tuple[Any, str]:
        from dlcore.models import dcgan
        from dlcore.models.dcgan import filters_for
        image = self._preprocessor.shape
        plain = self.loss != "wgan-gp" and not self.spectral
        network = dcgan(image, self.latent, filters=self.filters, classes=self._classes, batchnorm=plain, spectral=self.spectral,
                        flat=True, seed=self.seed_)
        widths = "-".join(map(str, self.filters or filters_for(image)))
        how = "spectral" if self.spectral else "batch" if plain else "no"
        return network, (f"{self.arch} on {'x'.join(map(str, image))}, filters {widths}, {how} normalisation; generator "
                         f"{network.generator.count_params():,} and discriminator {network.discriminator.count_params():,} weights")

    def _optimizers(self) -> tuple[Any, Any]:
        """The generator's, which keeps the averages, and the discriminator's."""
        from dlcore import optim
        settings = recipe.of(self)
        options = dict(settings["optimizer_options"])
        if "beta_1" in optim.get(self.optimizer).get_config():
            options = {"beta_1": float(self.beta1), "beta_2": float(self.beta2), **options}
        found = []
        for rate, more in ((self.lr, {}), (self.discriminator_lr or self.lr, {"ema": 0.0})):
            found.append(recipe.optimizer(SimpleNamespace(
                optimizer=self.optimizer, lr=rate, weight_decay=self.weight_decay,
                training={**settings, **more, "optimizer_options": options})))
        return found[0], found[1]

    def _train(self, inputs: Any, targets: np.ndarray, weight: np.ndarray | None, validation: Any, callbacks: Sequence[Callback],
               say: Callable[[str], None]) -> None:
        network, described = self._make(inputs.shape[1:])
        for line in recipe.prepare(network, self):
            say(line)
        optimizer, other = self._optimizers()
        network.compile(optimizer, other, loss=self.loss, penalty=float(self.penalty), critic_steps=int(self.critic_steps))
        for line in recipe.set_precision(network, self):
            say(line)
        self._network = network
        steps = max(1, len(inputs) // self.batch_size)
        say(f"network {described}")
        say(f"{self.optimizer}, learning rates {self.lr:g} and {self.discriminator_lr or self.lr:g} ({self.schedule}), loss "
            f"{self.loss}, {self.epochs} epochs of {steps:,} batches of {min(self.batch_size, len(inputs))}"
            + (f", {self.critic_steps} steps of the discriminator for one of the generator" if self.critic_steps > 1 else "")
            + recipe.described(self))
        network.optimizer.learning_rate = recipe.schedule(self, self.epochs * steps, steps) or self.lr
        labels = self._one_hot(targets) if self.conditional else None
        self.history_ = network.fit(inputs, labels, batch_size=self.batch_size, epochs=self.epochs, callbacks=callbacks,
                                    seed=self.seed_, verbose=0)
        self.n_iter_ = len(self.history_.epoch)

    # ---- images ------------------------------------------------------------------------------------------------------
    def _half(self, name: str) -> Model:
        from dlcore.training.adversarial import half_of
        return half_of(self.model, name)

    def codes(self, n: int, seed: int = 0, label: Any = None) -> np.ndarray:
        """What the generator makes n images of, f32 (n, latent), of a conditional one (n, latent + classes); see `generate`."""
        if n < 1:
            raise UsageError("there is nothing to generate", expected="n from 1", got=str(n))
        rng = np.random.default_rng(seed)
        codes = rng.standard_normal((n, self.latent), dtype=np.float32)
        if not self.conditional:
            if label is not None:
                raise UsageError("this model makes images without labels", where="label", got=str(label),
                                 hint="train with --set model.conditional=true")
            return codes
        if label is None:
            ids = rng.integers(0, self._classes, n)
        else:
            given = [label] * n if isinstance(label, str) or np.ndim(label) == 0 else list(label)
            if len(given) != n:
                raise UsageError("there is one label for all images, or one for each", expected=str(n), got=str(len(given)))
            try:
                ids = self._answers.encode(np.array([str(v) for v in given]) if self._answers.labels.dtype.kind == "U"
                                           else np.array(given))
            except DataError as fault:
                raise UsageError("the model makes no images for this label", where="label", expected=self._answers.listed(),
                                 got=fault.got) from None
        return np.concatenate([codes, self._one_hot(ids)], 1)

    def generate(self, n: int = SHOWN, seed: int = 0, label: Any = None) -> np.ndarray:
        """n new images, f32 (n, H, W) or (n, H, W, C), pixels between 0 and 1; the same seed gives the same.
        label: of a conditional model, one for all images or one for each; None draws them."""
        return self.images_of(self.codes(n, seed, label))

    def images_of(self, codes: Any) -> np.ndarray:
        """The images that codes stand for: see `codes`."""
        codes, width = np.asarray(codes, np.float32), self.latent + self._classes
        if codes.ndim != 2 or codes.shape[1] != width:
            raise DataError("these are no codes of this model", expected=f"(N, {width})", got=str(codes.shape))
        return self._images((self._half("generator").predict(codes) + np.float32(1)) * np.float32(0.5))

    def grids(self) -> dict[str, np.ndarray]:
        from dlcore.report import png
        if not self.conditional:
            return {"samples": png.grid(self.generate(SHOWN), COLUMNS)}
        shown = self._answers.labels[:10]                       # a column for each label
        return {"samples": png.grid(self.generate(COLUMNS * len(shown), label=np.tile(shown, COLUMNS)), len(shown))}

    def grid_callback(self, folder: Any) -> Callback:
        from dlcore.training.grids import SaveGrids
        return SaveGrids(folder, self.grids, self.sample_every, at_end=True)

    def predict(self, x: Any) -> np.ndarray:
        """How real each image looks to the discriminator, f32 (N,): a probability where the loss is "nonsaturating", else its
        output.  Of a conditional model by the label that suits the image best."""
        inputs, judge = self._inputs(self._checked(x)), self._half("discriminator")
        if self.conditional:
            each = [judge.predict([inputs, self._one_hot(np.full(len(inputs), c))]) for c in range(self._classes)]
            scores = np.concatenate(each, 1).max(1)
        else:
            scores = judge.predict(inputs)[:, 0]
        return 0.5 * (1 + np.tanh(0.5 * scores)) if self.loss == "nonsaturating" else scores

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None, *, n: int = 0, seed: int = 0) -> dict[str, float]:
        """As many generated images (at most 10,000; `n` says how many) beside the images x: fid, classes_covered, class_shift (see
        `Judge.measure`), of a conditional model label_accuracy, how often the judge sees the label that was asked for; real and
        fake, what the discriminator says of them.   Without a judge the last two alone."""
        x, _ = images_and_labels(x, None)
        x = self._checked(x)
        if len(x) < 2:
            raise DataError("there are too few images to compare with", expected="2 or more", got=str(len(x)))
        if len(x) > MEASURED:
            x = x[np.sort(np.random.default_rng(seed).permutation(len(x))[:MEASURED])]
        count = n or len(x)
        asked = None
        if self.conditional:
            asked = self._answers.labels[np.random.default_rng(seed + 1).integers(0, self._classes, count)]
        made = self.generate(count, seed, asked) / np.float32(self._preprocessor.scale)
        found: dict[str, float] = {}
        if self.judge_ is not None:
            found = self.judge_.measure(x, made)
            if asked is not None and np.isin(asked, self.judge_.classifier.classes_).all():
                found["label_accuracy"] = float((self.judge_.labels(made) == asked).mean())
        return found | {"real": float(self.predict(x).mean()), "fake": float(self.predict(made).mean())}

    def measured_after(self, y: Any) -> list[str]:
        """What `evaluate` will say of a model trained on these labels by which models can be compared, the best first."""
        judged = self.judge not in ("", LENET) or (self.judge == LENET and y is not None and len(np.unique(y)) > 1)
        return ["fid"] if judged else []

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Minus the FID; UsageError without a judge."""
        found = self.evaluate(x)
        if "fid" not in found:
            raise UsageError("nothing measures what this model generates", hint='judge="lenet" and labels, or the path of a model')
        return -found["fid"]

    # ---- files, export -----------------------------------------------------------------------------------------------
    def contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        config, tensors, extras = super().contents()
        if self.judge_ is not None:
            more = self.judge_.contents()
            config, tensors, extras = config | more[0], tensors | more[1], extras | more[2]
        return config, tensors, extras

    @classmethod
    def from_file(cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], extras: Mapping[str, Any],
                  where: str) -> Self:
        result = super().from_file(config, tensors, extras, where)
        result.judge_ = Judge.restored(config, tensors, extras, where)
        if result.judge_ is not None and result.judge_.classifier.image_shape != result.image_shape:
            raise ModelFileError("the classifier that measures is for other images", where=f"{where}, judge")
        return result

    def _outputs(self) -> int:
        return self._preprocessor.width

    def _input_widths(self, width: int) -> list[int]:
        return [width, self._classes] if self.conditional else [width]

    def _output_widths(self) -> list[int]:
        return [self._outputs(), 1]

    def _fits(self, network: Any) -> bool:
        if isinstance(self._answers, Classes) != bool(self.conditional):
            return False
        halves = {layer.name: layer.network for layer in network.layers if layer.name in ("generator", "discriminator")}
        wanted = [(None, n) for n in self._input_widths(self._preprocessor.width)]
        return (len(halves) == 2 and [s.shape for s in halves["generator"].inputs] == [(None, self.latent + self._classes)]
                and [s.shape for s in halves["discriminator"].inputs] == wanted)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (self.latent + self._classes,)

    def samples(self, x: Any) -> np.ndarray:
        """Codes, as many as there are images: exported is the generator."""
        return self.codes(max(1, len(x)))

    def random_samples(self, count: int) -> np.ndarray:
        return self.codes(count)

    def answers(self, samples: np.ndarray) -> np.ndarray:
        return self._half("generator").predict(samples)

    def trace(self, x: Tensor) -> Tensor:
        generator = self._half("generator")
        assert generator.network is not None
        return generator.network.apply([x])[0]


def _known(arch: Any) -> Mapping[str, Any]:
    if not isinstance(arch, str) or arch not in ARCHITECTURES:
        raise UsageError(f"arch = {arch!r} is no GAN", expected=", ".join(ARCHITECTURES))
    return ARCHITECTURES[arch][1]


class GanTask:
    """`gan` on the command line."""

    name = "gan"
    summary = "new images like those of a data set, by two networks against each other"
    architectures: Mapping[str, str] = {name: text for name, (text, _) in ARCHITECTURES.items()}
    presets: Mapping[str, Sections] = {}
    space = {"train.lr": "5e-5..5e-4:log", "train.beta1": "[0.0, 0.5]", "model.latent": "32, 64, 100"}

    def defaults(self, arch: str) -> Sections:
        found = GAN.of(arch or "dcgan").sections()
        return {**found, "data": {**found["data"], "size": "", "skip-bad": False}}

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None, size: str | int = "", skip_bad: bool = False) -> Parts:
        return read_parts(source, label_col, text_col, like, size, skip_bad)

    def create(self, train: Dataset, arch: str = "", seed: int = 0, size: str = "", skip_bad: bool = False, **options: Any) -> GAN:
        return GAN.of(arch or "dcgan", random_state=seed, **renamed(options))


TASK = GanTask()
ESTIMATORS = {"GAN": GAN}
