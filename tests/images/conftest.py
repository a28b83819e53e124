"""Fixtures of the images' tests, and the table of what they found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.images.fresh_machines import FreshMachines
from tests.images.image_stack import ImageStack, StartImageStack
from tests.images.images import (
    HOW_TO_BUILD,
    HOW_TO_GET,
    SERVICE_IMAGES,
    TEMPORAL_IMAGE,
    Image,
    engine_answers,
)
from tests.images.table import ImageTable
from tests.stack.plugin import TemporalServer, running_stacks
from tests.stack.tables import add_table


def pytest_configure(config: pytest.Config) -> None:
    """Have what is found of the images in tables."""
    table = ImageTable()
    config.pluginmanager.register(table, "stigma-image-table")
    add_table(config, table)
    add_table(config, FreshMachines())


@pytest.fixture(scope="session")
def engine() -> None:
    """There is a Docker engine."""
    if not engine_answers():
        pytest.skip(HOW_TO_GET)


@pytest.fixture(scope="session", params=SERVICE_IMAGES, ids=lambda image: image.name)
def image(request: pytest.FixtureRequest, engine: None) -> Image:
    """Each service's image in turn."""
    return _built(request.param)


@pytest.fixture(scope="session")
def temporal_image(engine: None) -> Image:
    """The dev server's image."""
    return _built(TEMPORAL_IMAGE)


@pytest.fixture(scope="session")
def all_images(engine: None) -> None:
    """All of them are there."""
    for image in (*SERVICE_IMAGES, TEMPORAL_IMAGE):
        _built(image)


@pytest.fixture(autouse=True)
def _in_table(request: pytest.FixtureRequest, record_property: Any) -> None:
    """Count the test for its image."""
    for name in ("image", "temporal_image"):
        if name in request.fixturenames:
            record_property("image", request.getfixturevalue(name).name)


@pytest.fixture
async def new_image_stack(
    request: pytest.FixtureRequest,
    temporal_server: TemporalServer,
    tmp_path_factory: pytest.TempPathFactory,
    all_images: None,
) -> AsyncIterator[StartImageStack]:
    """Start an `ImageStack` with options of `Stack`; it is closed at the test's end."""
    running = running_stacks(request.config)
    async with AsyncExitStack() as open_stacks:

        async def start(temporal_address: str | None = None, **options: Any) -> ImageStack:
            stack = ImageStack(
                temporal_address or temporal_server.address,
                tmp_path_factory.mktemp("images"),
                namespace=temporal_server.namespace,
                **options,
            )
            running.append(stack)
            open_stacks.callback(running.remove, stack)
            return await open_stacks.enter_async_context(stack)

        yield start


def _built(image: Image) -> Image:
    if not image.exists:
        pytest.skip(HOW_TO_BUILD.format(image.reference))
    return image
