"""The activities that wait for an execution: one task token an attempt, all kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stigma.contracts import limits, tokens
from stigma.internal.v1.execution_pb2 import Bind


class Bindings:
    """Bound tokens in order of arrival.

    Attempt numbers are no order: an activity reset goes back to 1 and revives the old token. So
    every token is kept, up to a bound that no sane caller meets, and the one that arrived last is
    tried first.

    Several activities of one workflow may wait for one execution, when they use one request id:
    each is owed the outcome.
    """

    def __init__(self, spec_digest: bytes, carried: Iterable[Bind] = ()) -> None:
        self._spec_digest = spec_digest
        self._binds = list(carried)
        self.revision = 0
        """Goes up with every bind: a replay of the same attempt counts too."""

    def add(self, bind: Bind) -> bool:
        """Bind one more attempt; return whether it belongs to this execution.

        A replay of another request is ignored, and so is a token of another workflow than the
        first: the principal was checked by the API, the request is checked here.
        """
        if bind.spec_digest != self._spec_digest or not self._is_same_caller(bind):
            return False
        # A replay of the same attempt moves to the end: it is the newest to have asked.
        self._binds = [known for known in self._binds if known.token != bind.token]
        self._binds.append(bind)
        if len(self._binds) > limits.MAX_BINDINGS:
            del self._binds[self._least_needed()]
        self.revision += 1
        return True

    @property
    def newest(self) -> Bind | None:
        """The attempt that asked last."""
        return self._binds[-1] if self._binds else None

    def newest_first(self) -> Iterator[Bind]:
        """Every attempt, the last one to ask first."""
        return reversed(self._binds)

    def by_activity(self) -> dict[str, Bind]:
        """The newest attempt of each activity, by `activity_of`; the last one to ask first."""
        newest: dict[str, Bind] = {}
        for bind in self.newest_first():
            newest.setdefault(activity_of(bind), bind)
        return newest

    def in_order(self) -> list[Bind]:
        """Every attempt, oldest first: the form that continue-as-new carries."""
        return list(self._binds)

    def __len__(self) -> int:
        return len(self._binds)

    def _least_needed(self) -> int:
        """The oldest attempt that a newer one stands for; else whoever asked longest ago.

        Of a hundred activities one after the other under one request id, the first is long over.
        """
        needed = {bind.token for bind in self.by_activity().values()}
        places = (at for at, bind in enumerate(self._binds) if bind.token not in needed)
        return next(places, 0)

    def _is_same_caller(self, bind: Bind) -> bool:
        try:
            new = tokens.parse(bind.token)
            first = tokens.parse(self._binds[0].token) if self._binds else new
        except tokens.InvalidTokenError:
            return False
        return (new.namespace_id, new.workflow_id) == (first.namespace_id, first.workflow_id)


def activity_of(bind: Bind) -> str:
    """Return which activity of the calling workflow an attempt is of.

    Of a workflow's activities that wait at a time each has its own id, and one keeps it over a
    reset of its run.
    """
    return tokens.parse(bind.token).activity_id
