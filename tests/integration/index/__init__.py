"""Tests of the index on both databases."""
