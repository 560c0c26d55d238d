"""Storage and Query/Retrieve, against real peers."""
