"""The models of spaces that no setting names any more, for as long as items are in them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING

from pipeline_assets.errors import classify
from pipeline_assets.models.clip import ModelNotLoaded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime

    from pipeline_assets.models.clip import Clip

log = logging.getLogger(__name__)

TRY_AGAIN = timedelta(minutes=5)
"""After a model could not be loaded: memory may be free by then, or a disk be back."""


@dataclass(frozen=True, slots=True)
class Named:
    """What the model of a space was called, and the signature of its files at that time."""

    name: str
    files: str


@dataclass(frozen=True, slots=True)
class _Found:
    """What came of looking for a model under these names; not `until` a time is for good."""

    names: Sequence[Named]
    model: Clip | None
    until: datetime | None = None


@dataclass(slots=True)
class EarlierModels:
    """Each model is loaded once, by `load`, if its files still are what `signature` said then."""

    load: Callable[[str], Clip]
    signature: Callable[[str], str]
    clock: Callable[[], datetime]
    _found: dict[str, _Found] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, space: str, names: Sequence[Named]) -> Clip | None:
        """The model of a space that had one of these names, if it is to be had as it was.

        A model that cannot be loaded is tried again after a while; one that is another by now is
        not, until it is known by another name.
        """
        with self._lock:
            found = self._found.get(space)
            if found is None or found.names != names or self._is_over(found):
                found = self._found[space] = self._looked_for(space, names)
            return found.model

    def keep(self, spaces: Collection[str]) -> None:
        """Let go of the models of all other spaces: what they embedded is embedded anew."""
        with self._lock:
            for space in self._found.keys() - set(spaces):
                del self._found[space]

    def _is_over(self, found: _Found) -> bool:
        return found.until is not None and found.until <= self.clock()

    def _looked_for(self, space: str, names: Sequence[Named]) -> _Found:
        until = None
        for named in names:
            try:
                model = self._as_it_was(space, named)
            except Exception as error:  # noqa: BLE001 - models raise a dozen unrelated types
                reason = error.reason if isinstance(error, ModelNotLoaded) else classify(error)
                text = "%s: its model %s cannot be loaded, and is tried again in %s: %s"
                log.warning(text, space, named.name, TRY_AGAIN, reason)
                until = self.clock() + TRY_AGAIN
            else:
                if model is not None:
                    return _Found(names, model)
        return _Found(names, None, until)

    def _as_it_was(self, space: str, named: Named) -> Clip | None:
        files = self.signature(named.name)
        if named.files and not files:
            raise FileNotFoundError("its files are not there")
        model = self.load(named.name) if files == named.files else None
        if model is not None and model.id == space:
            return model
        now = f"files {files}" if model is None else model.id
        log.warning("%s: %s is %s by now, whose vectors do not compare", space, named.name, now)
        return None
