"""The soak: a node that runs for as long as asked, among real peers, strangers and hostile clients, and is judged.

`tests/soak SECONDS` starts it; soak.py puts its parts together.
"""
