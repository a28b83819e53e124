"""A picture that moves: what a page showed, one frame after the other."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from PIL import Image
from playwright.async_api import Locator, Page, ViewportSize, expect

# Read in passing; the last is what it came to.
FRAME, LAST_FRAME = timedelta(seconds=1.3), timedelta(seconds=4)
# A whole short execution.
SIZE: ViewportSize = {"width": 960, "height": 1095}


@dataclass
class Recording:
    """Frames of one page for one file; none are taken when `runs` is false.

    Take one when the page shows what was waited for: then a slow machine's are as many, and of the
    same things.
    """

    page: Page
    file: Path
    runs: bool
    patience: float
    """Longest wait for a change, in milliseconds."""
    frames: list[bytes] = field(default_factory=list)

    async def begin(self) -> None:
        """Give the page the picture's size."""
        if self.runs:
            await self.page.set_viewport_size(SIZE)

    async def shoot(self) -> None:
        """Take a frame of what is to be seen."""
        if self.runs:
            self.frames.append(await self.page.screenshot(animations="disabled"))

    async def shoot_once_changed(self, part: Locator) -> None:
        """Take a frame as soon as a part of the page says something else."""
        if self.runs:
            before = await part.inner_text()
            await expect(part).not_to_have_text(before, use_inner_text=True, timeout=self.patience)
            await self.shoot()

    def end(self) -> None:
        """Write the file, when there are frames."""
        if self.frames:
            assemble(self.frames, self.file)


def assemble(frames: list[bytes], file: Path) -> None:
    """Put PNGs of one size together to an animated WebP, without a loss: letters stay sharp."""
    pictures = [Image.open(io.BytesIO(frame)).convert("RGB") for frame in frames]
    durations = [FRAME] * (len(frames) - 1) + [LAST_FRAME]
    pictures[0].save(
        file,
        format="WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=[int(each.total_seconds() * 1000) for each in durations],
        loop=0,
        lossless=True,
        quality=100,
        method=4,
        minimize_size=True,
    )
