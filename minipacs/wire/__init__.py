"""The DICOM upper layer as a pure protocol: bytes in, bytes and events out (PS3.8 §9, PS3.7 §9.3).

Nothing here opens a socket, starts a thread or reads a clock. One class serves both roles of an association.

    verification ─► association ─► state_table, framing
                        └────────► indications ─► messages ─► dimse
                                       └────────► pdu ─► associate ─► header, items
"""
