"""What the command line knows about a job: how its data is read, its architectures and the defaults it may change."""
from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from dlcore.data.dataset import Dataset, Parts
    from dlcore.tasks.estimator import Estimator

Sections = Mapping[str, Mapping[str, Any]]


class Task(Protocol):
    """One job.

    `architectures` maps a name to a line about it, the first being the default; `presets` maps a name to sections
    that replace some defaults.  A section is "data", "model" or "train".
    """

    name: str
    summary: str
    architectures: Mapping[str, str]
    presets: Mapping[str, Sections]
    # settings that `dlcore tune` tries by default: "section.key" -> "LOW..HIGH", "LOW..HIGH:log", "a, b, c" or a TOML list
    space: Mapping[str, str]

    def defaults(self, arch: str) -> Sections:
        """Every option with its default: {section: {key: value}}, keys written with dashes; a value shows its type."""

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None) -> Parts:
        """The parts of a data set, whose `notes` say what was decided.

        With `labelled=False` the answers may be missing and are left out.  `like` is the fitted estimator that the data
        is for: its columns and sizes are looked for.  Raises `DataError`.
        """

    def create(self, train: Dataset, arch: str = "", seed: int = 0, **options: Any) -> Estimator:
        """An estimator for this training part, not fitted yet; options as in `defaults`, with underscores."""
