"""The keys of the second router, by what each may do."""

# Limits of each key, as its lines in the file say them.
LIMITS = {
    "whole": {},
    "batch": {"priority": "batch"},
    "requests": {"requests_per_minute": 2},
    "again": {"requests_per_minute": 60, "tokens_per_minute": 600},
    "tokens": {"tokens_per_minute": 20},
    "one": {"concurrency": 1},
    "old": {"expires": "2020-01-01T00:00:00Z"},
}


def key(name):
    """The key's own text."""
    return f"sk-check-{name}-000000000000000000000000"
