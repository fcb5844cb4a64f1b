"""Streams snapshots to proxies over ADS and knows what each has acknowledged.

``protocol`` is the xDS protocol as pure values and steps, for state of the world and delta alike; ``stream``
drives one proxy's core over an abstract byte transport; ``server`` binds it to gRPC; ``sync_status`` is what
the rest of the program may ask about connected proxies.
"""
