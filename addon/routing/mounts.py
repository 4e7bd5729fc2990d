"""Mounts with an upstream of their own, each with its own settings.

The mount of a path is found before anything else is decided; from then on a request has the
settings of that mount alone, and knows nothing of other mounts and their registries.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from ..protocol import target as targets
from ..rules.model import Mount

if TYPE_CHECKING:
    from .settings import Settings

_KEPT = 1024
"""Paths in the cache, at most."""
_LONGEST = 512
"""Characters of a cached path, at most."""


class OwnMounts:
    """The mounts that have an upstream of their own.

    Args:
        mounts: all mounts of the rules.
        settings: the settings of those with an upstream of their own, by their paths.
    """

    def __init__(self, mounts: Sequence[Mount], settings: Mapping[str, Settings]) -> None:
        paths = (mount.path for mount in mounts)
        self._longest_first = tuple(sorted(paths, key=len, reverse=True))
        self._settings = settings
        self._kept = lru_cache(_KEPT)(self._find)

    def __iter__(self) -> Iterator[Settings]:
        return iter(self._settings.values())

    def get(self, mount: str) -> Settings | None:
        """Return the settings of a mount; None if it has no upstream of its own."""
        return self._settings.get(mount)

    def covering(self, path: str) -> Settings | None:
        """Return the settings of the mount of a path; None for the other mounts, and for none.

        Args:
            path: as received, without the query; bytes that are not UTF-8 as surrogate escapes.
        """
        return self._kept(path) if len(path) <= _LONGEST else self._find(path)

    def _find(self, path: str) -> Settings | None:
        target = targets.read(path, self._longest_first)
        return self._settings.get(target.mount) if target else None
