"""Two networks that are trained against each other, with an optimizer each, in the one loop of `fit`.

    gan = models.dcgan((28, 28), latent=64)
    gan.compile(Adam(2e-4, beta_1=0.5), loss="nonsaturating")
    gan.fit(images, epochs=20)                  # pixels from -1 to 1
    gan.generator.predict(codes)

With D(x) the discriminator's output for an image and s = softplus, the losses of a sample are

    nonsaturating  s(-D(x)) + s(D(G(z)))                    s(-D(G(z)))   Goodfellow et al., Generative adversarial nets, 2014
    hinge          max(0, 1 - D(x)) + max(0, 1 + D(G(z)))   -D(G(z))      Miyato et al., 2018, equations 16 and 17
    wgan-gp        D(G(z)) - D(x) + penalty (|g| - 1)**2    -D(G(z))      Gulrajani et al., Improved training of Wasserstein
                                                                          GANs, 2017

where g is the gradient of D at a point drawn between x and G(z).  Each step trains the discriminator, then, every
`critic_steps` of them, the generator against the discriminator as it then is.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DataError, UsageError
from dlcore.layers.layer import Variable
from dlcore.training import answers, dataset
from dlcore.training.averages import Averages
from dlcore.training.callbacks import Callback
from dlcore.training.dataset import DataSet
from dlcore.training.duel import DuelPrograms, WholeBatches
from dlcore.training.history import History
from dlcore.training.loop import Loop
from dlcore.training.model import Model
from dlcore.training.state import TrainingState

if TYPE_CHECKING:
    from dlcore.training.store import WeightStore

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
LOSSES = ("nonsaturating", "hinge", "wgan-gp")


class AdversarialObjective:
    """What an epoch reports: the two losses, and what the discriminator says of real and generated images: as probabilities of
    being real where the loss is "nonsaturating", else its outputs; of "wgan-gp" the penalty too.

    The sums of a step are those of the discriminator over the rows, the generator's, and the rows that this is of."""

    target_names: tuple[str, ...] = ()

    def __init__(self, loss: str, penalty: float):
        self.loss, self.penalty = loss, penalty
        self.names = ["d_loss", "real", "fake", *(["penalty"] if loss == "wgan-gp" else []), "g_loss"]
        self.finishers: list[Any] = [None] * len(self.names)

    @property
    def width(self) -> int:
        return len(self.names) + 1

    def logs(self, totals: Sequence[float], rows: float) -> dict[str, float]:
        """Means over samples by name; the generator's are over the steps that trained it, 0 where there were none."""
        found = {name: float(total) / rows for name, total in zip(self.names, totals, strict=False)}
        found["g_loss"] = float(totals[-2]) / float(totals[-1]) if totals[-1] else 0.0
        return {name: found[name] for name in ("d_loss", "g_loss", *self.names[1:-1])}


class Adversarial(Model):
    """A functional model whose inputs are images (and one-hot labels) and whose outputs [generator's images, discriminator's
    output]; two of its layers are models called "generator" and "discriminator".  See `dlcore.models.dcgan`."""

    own_class = False               # a file holds layers, connections and weights, and is read as a `Model` that is not compiled
    discriminator_optimizer: Any = None
    critic_steps = 1

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, seed: int = 0, **options: Any):
        super().__init__(inputs, outputs, name=name, seed=seed, **options)
        self.programs = DuelPrograms(self)

    def half(self, name: str) -> Model:
        """One of the two networks."""
        return half_of(self, name)

    @property
    def generator(self) -> Model:
        return self.half(GENERATOR)

    @property
    def discriminator(self) -> Model:
        return self.half(DISCRIMINATOR)

    @property
    def conditional(self) -> bool:
        """Whether labels go with the images."""
        return len(self.network.inputs) > 1

    def compile(self, optimizer: Any = "adam", discriminator_optimizer: Any = None,  # type: ignore[override]
                loss: str = "nonsaturating", penalty: float = 10.0, critic_steps: int = 1, precision: str = "float32") -> None:
        """optimizer: the generator's, which may keep averages (`use_ema`).   discriminator_optimizer: by default one like it;
        its learning rate stands to the other's as when it was given, also where that follows a schedule.
        penalty: factor of the gradient's in "wgan-gp".   critic_steps: steps of the discriminator for one of the generator"""
        from dlcore import optim
        answers.check_training(precision)
        if loss not in LOSSES:
            raise UsageError("unknown adversarial loss", expected=", ".join(LOSSES), got=repr(loss))
        if not penalty > 0 or isinstance(critic_steps, bool) or not isinstance(critic_steps, (int, np.integer)) or critic_steps < 1:
            raise UsageError("the penalty is above 0, critic_steps a whole number from 1", got=f"{penalty}, {critic_steps}")
        if self.averages.in_place:
            self.averages = Averages(self)
        self.optimizer = optim.get(optimizer)
        self.discriminator_optimizer = _own(self.optimizer, discriminator_optimizer)
        if self.optimizer.accumulates or self.discriminator_optimizer.accumulates:
            raise UsageError("two networks against each other train without micro-batches", hint="a smaller batch")
        self.rate_factor = _initial(self.discriminator_optimizer) / (_initial(self.optimizer) or 1.0)
        self.critic_steps, self.precision = int(critic_steps), precision
        self._objective: Any = AdversarialObjective(loss, float(penalty))
        self._claimed, self._trained = False, None
        self.state = TrainingState(self.seed)
        self._forget_programs()

    def _forget_programs(self) -> None:
        super()._forget_programs()
        self.programs = DuelPrograms(self)

    @property
    def objective(self) -> Any:
        if self._objective is None:
            raise UsageError("the model is not compiled", hint='gan.compile("adam")')
        return self._objective

    @property
    def trained_variables(self) -> list[Variable]:
        return self.generator.trainable_variables + self.discriminator.trainable_variables

    def ensure_store(self) -> WeightStore:
        """As of any model; the discriminator's optimizer keeps its state under the name of the generator's, so that a checkpoint
        has both."""
        store = super().ensure_store()
        if self.optimizer is not None:
            self.discriminator_optimizer.name = f"{self.optimizer.name}/{DISCRIMINATOR}"
        return store

    def fit(self, x: Any, labels: Any = None, batch_size: int = 64, epochs: int = 1, verbose: int = 1,  # type: ignore[override]
            callbacks: Iterable[Callback] | None = None, shuffle: bool = True, seed: int | None = None) -> History:
        """Trains both for a number of epochs.   x: images with pixels from -1 to 1.   labels: one-hot rows, where the model takes
        them.   Rows that are left of an epoch after its last whole batch wait for the next, which has another order.

        Goes on where an earlier `fit` ended.   Raises DataError, ShapeError, UsageError, DivergedError."""
        if epochs < 0 or batch_size < 1:
            raise UsageError("epochs must not be negative, batch_size at least 1", got=f"{epochs}, {batch_size}")
        if self.conditional != (labels is not None):
            raise UsageError("labels go with a conditional model, and with no other",
                             got="no labels" if labels is None else "labels")
        state, _ = self.state, self.objective
        state.seed = state.seed if seed is None else seed
        state.start_epoch()
        data = DataSet(dataset.inputs(self, x if labels is None else [x, labels]), (), None)
        if not data.rows:
            raise DataError("there are no images to learn from")
        for array, name in zip(data.x, self.network.input_names, strict=True):
            dataset.arrays.check_finite(array, name)
        feed = WholeBatches(self, data, batch_size, shuffle, state.seed)
        self.ensure_store()
        params = {"epochs": epochs, "steps": feed.steps_per_epoch, "batch_size": batch_size, "verbose": verbose}
        return self._run(Loop(self, feed, state, state.epoch + epochs), None, callbacks or (), params)

    def train_on_batch(self, *arguments: Any, **options: Any) -> Any:
        """Not of two networks: `fit` trains both."""
        raise UsageError("two networks against each other are trained by fit")

    def evaluate(self, *arguments: Any, **options: Any) -> Any:
        """Not of two networks: neither loss says how good the images are."""
        raise UsageError("two networks against each other have no loss to evaluate",
                         hint="dlcore.tasks.GAN measures generated images")


def half_of(model: Model, name: str) -> Model:
    """The layer of that name, a model.  UsageError where there is none."""
    found = next((layer for layer in model.layers if layer.name == name and isinstance(layer, Model)), None)
    if found is None:
        raise UsageError(f"the model has no {name}", expected="layers that are models: generator, discriminator",
                         got=", ".join(layer.name for layer in model.layers))
    return found


def _own(optimizer: Any, given: Any) -> Any:
    """The discriminator's optimizer; by default one like the generator's."""
    from dlcore import optim
    if given is None:
        config = {**optimizer.get_config(), "use_ema": False, "name": ""}
        if isinstance(config["learning_rate"], dict):
            config["learning_rate"] = optimizer.rate(1)
        given = type(optimizer)(**config)
    found = optim.get(given)
    if found is optimizer:
        raise UsageError("the two networks need an optimizer each", got="one object for both")
    if found.use_ema:
        raise UsageError("averages are kept of the generator", hint="use_ema for its optimizer alone")
    return found


def _initial(optimizer: Any) -> float:
    return float(optimizer.rate(1))
