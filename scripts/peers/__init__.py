"""asyncspy measured next to its peers: see scripts/bench-peers."""
