"""What no peer, no file and no neighbour may do to a node, or to what it keeps."""
