"""A tour of the language: one program a line, all of the same data."""

from zigflow_worker.expressions import JSON

DATA: JSON = {
    "a": 1,
    "b": {"c": [1, 2, 3], "d": "x,y"},
    "l": [{"k": "a", "v": 1}, {"k": "b", "v": 2}, {"k": "a", "v": 3}],
    "s": "Hello World",
    "n": None,
    "t": True,
    "f": 2.5,
}

PROGRAMS = r"""
.a
.b.c[1:]
.b.c[-1]
[.b.c[]|select(.>1)]
.l|group_by(.k)
.l|map({(.k):.v})|add
.l|INDEX(.k)
.l|unique_by(.k)|map(.v)
[.l[]|.v]|max,min
.l|max_by(.v)
.l|min_by(.v)
.l|sort_by(-.v)
to_entries
with_entries(.value|=tostring)
[paths]
[paths(type=="number")]
[..]|length
tostream
[tostream]|fromstream(.[])
[.b|tostream]
fromstream(tostream)
.s|test("world";"i")
.s|[match("o";"g").offset]
.s|capture("(?<x>[A-Z])(?<y>.)")
[.s|scan("[a-z]+")]
[.s|scan("([a-z])([a-z])")]
.s|split(" ")
.s|split("o";null)
[.s|splits("o")]
.s|sub("o";"0")
.s|gsub("o";"0")
.s|gsub("(?<c>[aeiou])";"<\(.c)>")
.s|gsub("";"-")
.s|gsub("^";"-")
[.s|match("";"g").offset]
.s|sub("(?<c>l)";"1","2")
.s|gsub("(?<c>l)";"1","2")
.s|ascii_downcase,ascii_upcase
.s|explode|implode
.s|ltrimstr("Hel")
.s|rtrimstr("ld")
.s|startswith("He")
.s|indices("o")
.s|index("o"),rindex("o")
.b.c|indices(2)
.b.c|index(2)
.b.d|split(",")|join("-")
[.a,null,true,"x"]|join("/")
@base64 "x\(.s)"
.s|@base64|@base64d
.s|@uri
[1,"a b",null]|@sh
[1,"a\"b",null,true]|@csv
[1,"a\tb",null,true]|@tsv
.s|@html
@json
@text
.b|tojson|fromjson
"12"|tonumber
"1.5e3"|tonumber
.a|tostring
[.b.c[]|.+1]|add
.b.c|add/length
.b.c|any(.>2),all(.>0)
[true,false]|any,all
[]|any,all
.b.c|first,last,nth(1)
first(.b.c[])
[first(empty)]
last(.b.c[])
[nth(1;.b.c[])]
[skip(1;.b.c[])]
[limit(2;.b.c[])]
[limit(0;.b.c[])]
isempty(empty)
isempty(.a)
[.b.c|combinations(2)]
[[1,2],[3,4]]|[combinations]
[[1,2],[3]]|transpose
[[1,[2]],3]|flatten
[[1,[2]],3]|flatten(1)
.b.c|reverse
null|reverse
.b|walk(if type=="number" then .+1 else . end)
walk(if type=="object" then del(.n) else . end)
[range(5)]
[range(2;5)]
[range(0;10;3)]
[range(5;0;-2)]
[range(0;1;0.3)]
[.a|until(.>100;.*2)]
[.a|while(.<100;.*2)]
[1|recurse(if .<5 then .+1 else empty end)]
[2|recurse(.*.;.<100)]
reduce .b.c[] as $x (0;.+$x)
[foreach .b.c[] as $x (0;.+$x)]
[foreach .b.c[] as $x (0;.+$x;[$x,.])]
.b.c as [$x,$y] | $x+$y
.l[0] as {k:$k,v:$v} | [$k,$v]
.l[] as {k:$k} | $k
[.[] as [$a] ?// $a | $a|type]
try error("x") catch .
try error({a:1}) catch .a
[.[]|try (.+1) catch "bad"]
[.b.c[]|if .==1 then "a" elif .==2 then "b" else "c" end]
.a as $x|[$x,$x+1]
label $f|(1,break $f,2)
[label $f|.b.c[]|if .>1 then break $f else . end]
def f(x): x|x; 2|f(.*.)
def f($a;$b): $a+$b; f(1;2)
def f($a): a; f(3)
def fac: if .<=1 then 1 else .*(.-1|fac) end; 10|fac
def f(g): def h: g|g; h; 2|f(.+1)
.a=5
.b.c[0]=9
.b.c[5]=9
.b.c[-1]=9
.b.c|=map(.+1)
.b.c[]|=.+1
.b.c[]+=10
.l[].v*=2
.a//=3
.n//=3
.zz.y.x=1
.b.c|=empty
(.b.c[]|select(.>1))|=empty
.b.c[1:]=[9]
.b.c[:2]|=map(.*2)
del(.a)
del(.b.c[0,2])
del(.l[]|select(.k=="a"))
delpaths([["a"],["b","c",0]])
to_entries|from_entries
pick(.b.c[1])
pick(.a)
getpath(["b","c",0])
[getpath(["a"],["b","d"])]
setpath(["b","q"];1)
paths(..)
has("a"),has("zz")
.b.c|has(0),has(9)
"a"|in({"a":1})
.b.c|contains([1])
"foobar"|contains("bar")
{a:[1,2]}|inside({a:[1,2,3],b:1})
.b.c|bsearch(2),bsearch(9)
[.[]|type]
[.[]|length?]
keys,keys_unsorted
.b|keys
[.b.c[]|tostring]
.t and .n
.t or .n
.n//"def"
[.b.c[]//1]
.a==1,.a!=1,.a<2
[1,null,true,"a",[1],{"a":1}]|sort
[{"a":1},{"a":null}]|sort_by(.a)
1425599621|todate
"2015-03-05T23:51:47Z"|fromdate
"2015-03-05T23:51:47Z"|strptime("%Y-%m-%dT%H:%M:%SZ")
"2015-03-05T23:51:47Z"|strptime("%Y-%m-%dT%H:%M:%SZ")|mktime
1425599621|gmtime
1425599621.25|gmtime
"10:15 March 3, 2020"|strptime("%H:%M %B %d, %Y")|mktime
"x"|ltrimstr(1)
[splits("a")]?
.f|floor,ceil,round,sqrt
[10|log10,exp2,(log|floor)]
pow(2;10)
[.[]|numbers],[.[]|strings],[.[]|nulls],[.[]|scalars]
"\(.a) and \(.b.c)"
"x" * 3
"x" * 0
[1,2,3]-[2]
{a:{b:1}}*{a:{c:2}}
7%3,-7%3,7%-3
10/4
"a,b"/","
.b.c|.[1:][0]
.s[1:4]
.[("a","f")]
{a,b:.b.d,"c":1,(.s):2,"x\(.a)":3}
{a:(1,2),b:(3,4)}
[.l[]|{k}]
$__loc__
@json "v=\(.b)"
[65,66]|implode
[65]|implode
"  x "|trim,ltrim,rtrim
trimstr("x")?
"xax"|trimstr("x")
"true"|toboolean
[1,[2]]|getpath([1,0])
[.l[]|.v]|IN(1),IN([1,2,3])
2|IN(1,2)
IN(.b.c[];2,9)
[limit(3;range(100))]
[.b.c[]|abs]
-5|abs
[1,2]|has(1)
error?
[error("x")?]
.a.b?
[.[]?]
..|numbers
[..|strings]
"aXbxc"|ascii_downcase|[splits("x")]
"test"|[match("(a)?t";"g")|.captures[0].string]
"aébc"|[match("b").offset]
"abc"|test("A.C";"ix")
"a\nb"|test("a.b";"s")
"a\nb"|test("a.b")
"foo bar"|[match("(?<n>o+)|(?<m>a)";"g")|.captures|map(.name)]
"abc"|capture("(?<x>z)?")
["a","b"]|.[1]="z"
[3,1,2]|sort|first
{"b":1,"a":2}|keys_unsorted
{"b":1,"a":2}|to_entries|map(.key)
[1,2,3]|tojson
getpath(["a","b"])?
try (1,error("x"),3) catch "c"
.b.c|(.[0],.[1])|=.+10
[.l[]|select(.k=="a").v]
.l|map(select(.v>1)|.k)
.l|map(.v)|@csv
[.l[]|(.k,.v)]
limit(1;.l[])
.l|length
reduce range(5) as $i ([];.+[$i])
[range(10)]|.[2:4]=["x"]
[.b.c[]|.*1.5]
(.a,.f)|=.+1
.l|=sort_by(.v)
.l[0].k|="z"
.b.c|to_entries
ltrimstr("a")
[.[]|tojson]
.l|JOIN(INDEX(.k);.k)
walk(.)
first(range(10;0;-1))
.b|map_values(length)
.b.c|map_values(empty)
map_values(tostring)
splits("x";null)?
"abcb"|sub("b";"[\(.)]")
"abcb"|gsub("(?<l>b)";"[\(.l)]";"g")
"aAa"|gsub("a";"x";"i")
[1,2,3]|del(.[1:])
tojson|fromjson==.
[.b.c|.[]]|add(.[])
add(.b.c[])
ltrimstr("x"),rtrimstr("x")
[1,2]|join(",")
significand?
getpath([])
[paths(..)]
"1 2"|split(" ")|map(tonumber)
" 1"|tonumber?
"0x1"|tonumber?
"nan"|tonumber?
{}|.a.b.c
[]|.[0]
{} | .["a"]
[1,2,3] | .[1,2]
"\u00e9"|@uri,utf8bytelength,length
def f: reduce .[] as $x (0; . + $x); .b.c|f
[.b.c[] as $x | .b.c[] as $y | select($x<$y) | [$x,$y]]
[recurse]|length
recurse(.b?;.!=null)|type
[1,[2,[3]]]|[recurse(.[]?)]
have_decnum
@sh "echo \(.s)"
limit(-1;1)
.[0]?
splits("o")
[.s,.b.d]|map(ascii_downcase)
.s|ascii_downcase|explode|map(.-97)|add
if . then 1 end
if empty then 1 else 2 end
if (true,false) then 1 else 2 end
[if .t then .a else .f end, (if .n then 1 end)]
1 as $x | 2 as $y | [$x,$y,$__loc__]
{(1,2|tostring):3}
[{a:1},{b:2}]|add
[[1],[2]]|add
["a","b"]|add
[]|add
[1,null]|add
tojson|length
"a"|ascii_downcase as $x | $x
.a|tojson|tojson|fromjson
{"a":[1,2,{"b":3}]}|[paths|join(".")?]
{"a":[1,2,{"b":3}]}|[paths|map(tostring)|join(".")]
[1|truncate_stream([[0],1],[[1,0],2],[[1,0]],[[1]])]
ltrimstr(null)?
getpath(["x"])=3
splits(1)?
[.[]|arrays,objects]|length
error(null)?
try error(null) catch .
try error catch type
.. = 1
..|=.
[..]|map(type)
del(..)
del(.)
to_entries[0]
paths|select(length>1)
limit(3;.l[].v)
[.l[].v|select(.>=2)]|length
@text "a\(1)"
@html "<\("<&>")>"
1,2|.+1
(1,2)|.+1
[.[1:3]?]
"x"|.[0:1]
"abc"|.[-2:]
"abc"|.[:1]
[1,2,3]|.[1.2]
[1,2,3]|.[:1.2]
{a:1}|has("a") and true
not
[true,false,null]|map(not)
tojson|test("a")
splits("a","b")?
ascii_downcase?
"é"|explode
[range(3)]|tojson
getpath(["l",0,"k"])
[getpath(["l",(0,1),"k"])]
path(.a),path(.b.c[0])
[path(..)]|length
path(getpath(["a","b"])?)
path(first(.b.c[],.a))
[path(.l[]|select(.v>1))]
[path(limit(1;.l[]))]
path(if .a then .b else .c end)
path(.a//.b)
path(.n//.b)
try path(1) catch .
try path(.a|tostring) catch .
path(.b|.c|last)
path(.b.c|first)
path(recurse)
paths(type=="boolean")
(.n//.a)=7
(.a|select(.==1))=2
(.b|.c[0])|=.+1
last(range(5))=1?
first(.l[]).v=9
limit(2;.l[]).v=9
(.l|first|.v)=9
(.l|last|.v)=9
0.1+0.2
1e3
1e17
3.0
1.5|tostring
100000|tostring
[.b.c[]|-.]
-(.a)
-.a
[.l[]|.v]|-.[0]
getpath("a")?
tojson?
"""
