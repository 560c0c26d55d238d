"""What passed on the wire, for people and for logs: who said what, and which bytes say it. Imported under -v alone.

It judges nothing and never fails, whatever came: the engine does that.

    log ─► negotiation ─► items ─► fields ─► names
     └───► dump ─► dissection ──────┘
"""
