"""What Alembic runs to apply the changes; must not find a database by itself: the caller hands one over."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
