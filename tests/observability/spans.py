"""Spans as a collector received them, and the tree that they make."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from tests.integration.trace_receiver import TraceReceiver


@dataclass(frozen=True)
class Span:
    """One span; ids are hex."""

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    start: int
    end: int
    error: bool
    attributes: dict[str, Any] = field(hash=False)

    @property
    def key(self) -> tuple[str, str]:
        """Service and name, which is what a tree is compared by."""
        return self.service, self.name


@dataclass(frozen=True)
class Node:
    """A span and what happened because of it, in the order of beginning."""

    span: Span
    children: list[Node]

    def walk(self, depth: int = 0) -> Iterator[tuple[int, Span]]:
        """This span and all below it, with their depths."""
        yield depth, self.span
        for child in self.children:
            yield from child.walk(depth + 1)

    def outline(self) -> list[str]:
        """One line a span: its depth as indentation, its name, its service."""
        return [f"{'  ' * depth}{span.name} [{span.service}]" for depth, span in self.walk()]

    def shape(self) -> tuple[Any, ...]:
        """Names, services and parents; whatever the order of what happens at once."""
        return (*self.span.key, *sorted(child.shape() for child in self.children))


def parsed(outline: str) -> Node:
    """The tree of an outline; its spans have a name and a service only."""
    root, *rest = (
        Node(Span("", "", "", found[3], found[2], "", len(found[1]) // 2, 0, False, {}), [])
        for line in outline.rstrip().splitlines()
        if (found := re.match(r"( *)(\S.*) \[(\w+)\]$", line))
    )
    path = [root]
    for node in rest:
        del path[node.span.start :]
        path[-1].children.append(node)
        path.append(node)
    return root


def received(receiver: TraceReceiver, trace_id: str = "") -> list[Span]:
    """Every span that arrived so far, of one trace or of all."""
    found = [
        _span(span, service)
        for request in receiver.requests
        for resource in request.resource_spans
        for service in [_attributes(resource.resource.attributes).get("service.name", "")]
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    return [span for span in found if trace_id in {"", span.trace_id}]


def trees(spans: Iterable[Span]) -> list[Node]:
    """The roots: spans whose parent did not arrive, or who have none."""
    spans = sorted(spans, key=lambda span: (span.start, span.end))
    known = {span.span_id for span in spans}
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in spans:
        children[span.parent_id if span.parent_id in known else ""].append(span)

    def grown(span: Span) -> Node:
        return Node(span, [grown(child) for child in children[span.span_id]])

    return [grown(span) for span in children[""]]


def _span(span: OtlpSpan, service: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        service=service,
        name=span.name,
        kind=OtlpSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        error=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
