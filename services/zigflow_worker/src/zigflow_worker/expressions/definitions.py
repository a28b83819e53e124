"""The builtins that are written in jq."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from zigflow_worker.expressions import syntax
from zigflow_worker.expressions.names import Key
from zigflow_worker.expressions.parser import parse

SOURCE = r"""
def values: select(. != null);
def nulls: select(. == null);
def booleans: select(type == "boolean");
def numbers: select(type == "number");
def strings: select(type == "string");
def arrays: select(type == "array");
def objects: select(type == "object");
def iterables: select(type | . == "array" or . == "object");
def scalars: select(type | . != "array" and . != "object");
def finites: select(type == "number" and isfinite);
def normals: select(isnormal);
def with_entries(f): to_entries | map(f) | from_entries;
def map_values(f): .[] |= f;
def paths: path(..) | select(. != []);
def paths(f): path(.. | select(f)) | select(. != []);
def leaf_paths: paths(scalars);
def in(xs): . as $x | xs | has($x);
def inside(xs): . as $x | xs | contains($x);
def first: .[0];
def last: .[-1];
def nth($n): .[$n];
def isvalid(f): try (f | true) catch false;
def error(msg): msg | error;
def index($i): indices($i) | .[0];
def rindex($i): indices($i) | .[-1:][0];
def ascii: [.] | implode;
def todate: strftime("%Y-%m-%dT%H:%M:%SZ");
def todateiso8601: todate;
def date: todate;
def fromdateiso8601: strptime("%Y-%m-%dT%H:%M:%SZ") | mktime;
def fromdate: fromdateiso8601;
def dateadd(u; n): . + n;
def datesub(u; n): . - n;
def toarray: if type == "array" then . else [.] end;
def IN(s): any(s == .; .);
def IN(src; s): any(src == s; .);
def INDEX(f): INDEX(.[]; f);
def JOIN($idx; f): [.[] | [., $idx[f]]];
def JOIN($idx; stream; f): stream | [., $idx[f]];
def JOIN($idx; stream; f; join): stream | [., $idx[f]] | join;
def GROUP_BY(f): group_by(f);
def UNIQUE_BY(f): unique_by(f);
def any: any(.[]; .);
def any(f): any(.[]; f);
def all: all(.[]; .);
def all(f): all(.[]; f);
def add: add(.[]);
def truncate_stream(stream):
  . as $depth | null | stream
  | select(.[0] | length > $depth) | .[0] |= .[$depth:];
def combinations:
  if length == 0 then [] else .[0][] as $x | (.[1:] | combinations) as $w | [$x] + $w end;
def combinations(n): . as $dot | [range(n)] | map($dot) | combinations;
def transpose: . as $rows | [range([.[] | length] | max // 0) as $i | [$rows[][$i]]];
.
"""


@cache
def by_key() -> Mapping[Key, syntax.Definition]:
    """Return the definitions, by name and number of parameters."""
    found: dict[Key, syntax.Definition] = {}
    node = parse(SOURCE)
    while isinstance(node, syntax.Definition):
        found[node.name, len(node.parameters)] = node
        node = node.rest
    return found
