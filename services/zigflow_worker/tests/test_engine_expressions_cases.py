"""Inputs on which 0.1.0 differed from jq 1.8, and expressions that escaped its budget."""

from __future__ import annotations

import json
import time

import pytest

from zigflow_worker.expressions import Budget, ExpressionError, compile_expression

ERROR = "error"
CASES = r"""
[1,{"a":2}]	[.[].a?]	[2]
[1,{"a":2}]	[.[] | .a?]	[2]
[{"a":1},3,{"a":2}]	[.[].a? // "d"]	[1,2]
[{"a":1},3,{"a":2}]	del(.[].a?)	[{},3,{}]
[{"a":1},3,{"a":2}]	(.[].a?) |= 5	[{"a":5},3,{"a":5}]
{"a":1}	.a.b.c?	error
1	.a.b.c?	error
1	(.a) // 2	error
{"user":5}	.user.name // "nobody"	error
null	error("x") // 1	error
{"a":null}	.a // "d"	"d"
"a"	gsub("$";"b")	"ab"
"aB"	[gsub("(?<a>.)";"\(.a|ascii_upcase)","\(.a|ascii_downcase)")]	["AB","ab"]
"%FF"	try @urid catch "bad"	"bad"
"abc%"	try @urid catch "bad"	"bad"
"Cannot be"	try @base64d catch "bad"	"bad"
[0]	try .[infinite] catch "bad"	null
null	[null // 1 as $x | [$x]]	[[1]]
null	[true // 1 as $x | [$x]]	[[true]]
null	["\(1,2)\(3,4)"]	["13","23","14","24"]
[[1,2],[3,4]]	[.[][0,1]]	[1,3,2,4]
null	has("a")	false
{"a":1}	join(",")	"1"
{"a":[1]}	flatten	[1]
"abc"	indices("")	[]
[1]	indices([])	[]
[1,2,3]	.[-1.2]	3
[1,2,3,4,5]	delpaths([[2],[-10]])	[1,2,4,5]
null	{a:1,}	{"a":1}
[2024,8,21]	mktime	1726876800
[null,[],[[0],1],[[0]]]	[fromstream(.[])]	[[1]]
[1.5]	mktime	-62104147200
[2024.5]	mktime	1703980800
8	frexp	[0.5,4]
null	reduce range(5) as $x (0; . + $x | select($x != 2))	7
"x"	[paths(.a)]	error
"ab"	reverse	error
"+1"	fromjson	1
null	getpath([null])	error
null	getpath(["a",0,{}])	null
null	index(null)	error
null	indices([1])	error
null	index("a")	null
"""
MUST_END = r"""
reduce range(60) as $i ([1];[.,.]) | floor
reduce range(60) as $i ([1];[.,.]) | INDEX(.)
reduce range(60) as $i ([1];[.,.]) | truncate_stream(1)
("x"*1e6) | test("(x{0,500}){0,2}y")
[range(5000) as $i | "x" | test("(\($i)|x{0,900}){1}")] | length
("a"*1e6) as $a | ("a"*1e6) as $b | [range(100000) | $a < $b] | length
("<"*1e6) as $s | [range(2000) | $s | @html | 1] | length
("x"*1e7) as $s | [range(1000) | $s | tojson | 1] | length
[range(1e5)] as $a | [range(1000) | $a | try mktime catch 1] | length
[range(1e5)] as $a | [range(1000) | $a | keys] | length
setpath([range(400) | 9999]; 1) | length
label $out | foreach range(1e9) as $i (0; $i; if . < 0 then break $out else empty end)
"""


@pytest.mark.parametrize("case", CASES.strip().splitlines())
def test_cases_that_differed(case: str) -> None:
    data, source, expected = case.split("\t")
    expression = compile_expression(source, frozenset())
    caught = compile_expression(f'try ({source}) catch "caught"', frozenset())
    if expected == ERROR:
        with pytest.raises(ExpressionError):
            expression.evaluate(json.loads(data), {})
        assert caught.evaluate(json.loads(data), {}) == "caught"
        return
    assert json.dumps(expression.evaluate(json.loads(data), {})) == json.dumps(json.loads(expected))


@pytest.mark.parametrize("source", MUST_END.strip().splitlines())
def test_expressions_that_must_end(source: str) -> None:
    expression = compile_expression(source, frozenset())
    began = time.process_time()
    used = []
    for _ in range(2):
        budget = Budget()
        try:
            expression.evaluate(None, {}, budget)
        except ExpressionError as error:
            used.append(f"{budget.used} {error}")
        else:
            used.append(f"{budget.used}")
    assert time.process_time() - began < 30  # far beyond what coverage adds
    assert used[0] == used[1]
