"""A grid of recipes, run cell by cell, with a table that anyone can repeat."""
