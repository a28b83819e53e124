"""The tools of MCP servers that a version of an agent was applied with."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; it is null for agents without such tools."""
    op.add_column("agents", sa.Column("mcp_tools", sa.LargeBinary))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("agents", "mcp_tools")
