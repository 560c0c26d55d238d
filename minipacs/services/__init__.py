"""What goes beyond Verification, built on pynetdicom: Storage and Query/Retrieve, in both roles.

Nothing here is imported before such a service is switched on, or one of its commands runs.
"""
