"""Searches: what runs next, from what the earlier ones showed."""
