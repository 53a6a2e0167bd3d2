"""Tests of what the index computes without a database."""
