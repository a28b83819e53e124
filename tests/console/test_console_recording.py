"""The moving picture: how it is put together, and the one in the documents."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.console.console_browser import PICTURES
from tests.console.recording import SIZE, assemble

MOST_BYTES = 600_000


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 4), colour).save(file, format="PNG")
    return file.getvalue()


def read(file: Path) -> list[tuple[int, Image.Image]]:
    """Each frame with the milliseconds for which it is shown."""
    found = []
    with Image.open(file) as picture:
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            frame = picture.convert("RGB")
            found.append((int(picture.info["duration"]), frame))
        assert picture.info["loop"] == 0, "it begins again"
    return found


def test_frames_follow_each_other_without_a_loss_and_the_last_stays_longest(tmp_path: Path) -> None:
    file = tmp_path / "it.webp"
    colours = ["#fefefe", "#010203", "#4f46e5"]
    assemble([png(colour) for colour in colours], file)
    frames = read(file)
    assert [duration for duration, _ in frames] == [1300, 1300, 4000]
    shown = [frame.getpixel((3, 2)) for _, frame in frames]
    assert shown == [(254, 254, 254), (1, 2, 3), (79, 70, 229)]


def test_the_one_in_the_documents_is_short_and_light() -> None:
    file = PICTURES / "console-live.webp"
    frames = read(file)
    assert 6 <= len(frames) <= 12
    assert {frame.size for _, frame in frames} == {(SIZE["width"], SIZE["height"])}
    assert frames[-1][0] > frames[0][0]
    assert file.stat().st_size < MOST_BYTES
