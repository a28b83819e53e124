from __future__ import annotations

async def test_slice(engine) -> None:
    out = await engine.run("""
      do:
        - a:
            set: {x: "${ .n + 1 }"}
        - w:
            wait: {milliseconds: 20}
        - inner:
            do:
              - b:
                  set: {y: "${ .x * 2 }"}
                  output: {as: "{y, old: $input}"}
    """, {"n": 1})
    assert out == {"y": 4, "old": {"x": 2}}
