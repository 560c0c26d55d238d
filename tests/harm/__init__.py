"""What loses data, admits a stranger, hangs or fills a machine: each a kind, and the right value."""
