"""The wire as people see it."""
