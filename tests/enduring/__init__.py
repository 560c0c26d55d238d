"""What is stored endures: many objects, large ones, kill -9, a full disk."""
