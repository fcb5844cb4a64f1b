"""``proxy-config``: what one proxy holds, as tables, as JSON, or as the difference from what it should hold.

Everything is read from configuration dumps in JSON, Envoy's or ours, so no Envoy message is ever loaded. ``dump``
finds resources in a dump; ``clusters``, ``listeners``, ``routes`` and ``endpoints`` derive the columns of one table
each, as istioctl does; ``filters`` are the options that choose;
``names`` writes resources in istioctl's JSON; ``difference`` compares two dumps; ``command``
is the command line.
"""
