"""Brings the registry's tables up to date, step by step (`stigma_api.migrations`).

Steps only add: the release before reads and writes the tables of this one, so that replicas of both
may run side by side, and so that it can be rolled back to.
"""

from __future__ import annotations

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

# Any number will do, as long as every replica takes the same one.
_LOCK = 73_000_001


def migrate(connection: sa.Connection) -> None:
    """Take the steps that this database lacks; none where a newer release has been at it."""
    if connection.dialect.name == "postgresql":
        # Replicas start together: one brings the schema up to date, the others wait for it.
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    config = Config()
    config.set_main_option("script_location", "stigma_api:migrations")
    config.attributes["connection"] = connection
    ours = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None or current in ours:
        command.upgrade(config, "head")
    else:
        structlog.get_logger().info("schema_of_a_newer_release", revision=current)
