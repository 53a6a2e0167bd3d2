"""The history of the tables, applied by Alembic from within the program; must not import the models."""
