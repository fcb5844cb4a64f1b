"""``bug-report``: one archive with all that helps to find out what is wrong, and without credentials.

``command`` gathers the parts, ``cluster`` those that only the API server knows, ``redaction`` takes out what nobody may
be told. A part that cannot be had is named in the archive with the reason, and the others are there.
"""
