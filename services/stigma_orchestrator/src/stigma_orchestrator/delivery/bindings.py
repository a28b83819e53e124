"""The task tokens of the activities that wait for an execution, one an attempt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stigma.contracts import limits, tokens
from stigma.internal.v1.execution_pb2 import Bind


class Bindings:
    """Bound tokens in order of arrival.

    Attempt numbers are no order: an activity reset goes back to 1 and revives the old token. So
    every token is kept, up to `limits.MAX_BINDINGS`, and the one that arrived last is tried first.

    Several activities of one workflow may wait for one execution, when they use one request id:
    the outcome is delivered to each.
    """

    def __init__(self, spec_digest: bytes, carried: Iterable[Bind] = ()) -> None:
        self._spec_digest = spec_digest
        self._binds = list(carried)
        self.version = 0
        """Increases with every bind: a repeated one of the same attempt counts too."""

    def add(self, bind: Bind) -> bool:
        """Bind one more attempt; return whether it belongs to this execution.

        An attempt with another request is ignored, and so is a token of another workflow than the
        first: the API checks the principal, the request is checked here.
        """
        if bind.spec_digest != self._spec_digest or not self._is_same_caller(bind):
            return False
        # A repeated bind of the same attempt moves it to the end.
        self._binds = [known for known in self._binds if known.token != bind.token]
        self._binds.append(bind)
        if len(self._binds) > limits.MAX_BINDINGS:
            del self._binds[self._eviction_index()]
        self.version += 1
        return True

    @property
    def newest(self) -> Bind | None:
        """The attempt that was bound last."""
        return self._binds[-1] if self._binds else None

    def newest_first(self) -> Iterator[Bind]:
        """Return every attempt, the last one bound first."""
        return reversed(self._binds)

    def newest_by_activity(self) -> dict[str, Bind]:
        """Return the newest attempt of each activity by its id, the last one bound first."""
        newest: dict[str, Bind] = {}
        for bind in self.newest_first():
            newest.setdefault(activity_id_of(bind), bind)
        return newest

    def in_order(self) -> list[Bind]:
        """Return every attempt, oldest first: the form that continue-as-new carries."""
        return list(self._binds)

    def __len__(self) -> int:
        return len(self._binds)

    def _eviction_index(self) -> int:
        """Return the index of the oldest attempt that a newer one replaces, else of the oldest.

        Of a hundred activities one after the other under one request id, the first is long over.
        """
        newest = {bind.token for bind in self.newest_by_activity().values()}
        replaced = (index for index, bind in enumerate(self._binds) if bind.token not in newest)
        return next(replaced, 0)

    def _is_same_caller(self, bind: Bind) -> bool:
        try:
            new = tokens.parse(bind.token)
            first = tokens.parse(self._binds[0].token) if self._binds else new
        except tokens.InvalidTokenError:
            return False
        return (new.namespace_id, new.workflow_id) == (first.namespace_id, first.workflow_id)


def activity_id_of(bind: Bind) -> str:
    """Return the id of the activity that an attempt belongs to.

    It is unique among a workflow's pending activities and survives a reset of the run.
    """
    return tokens.parse(bind.token).activity_id
