"""The engine: its bytes held against pynetdicom, its states against the table of the standard."""
