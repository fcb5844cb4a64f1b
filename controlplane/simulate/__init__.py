"""What an Envoy that holds a snapshot does with a request, step by step, and where each element comes from.

In reading order:

* ``call``: a call, the steps of its explanation, and what becomes of it, as values.
* ``text_matching``, ``request``, ``chains``, ``routes``: which filter chain, virtual host and route Envoy chooses.
* ``actions``, ``clusters``: what it does then: redirects, rewrites, weights, endpoints, TLS.
* ``filters``, ``policies``, ``tokens``: what comes before: faults, authorisation, JSON Web Tokens.
* ``proxy``: all of these in Envoy's order, for one proxy.
* ``sources``: the object and field behind an element; ``mesh``: names, proxies and snapshots of a registry.
* ``explanation``: both proxies of a call, and the last line.

Real Envoys judge it: the same requests go through both (``tests/envoy/test_simulate.py``, ``bench/simulate.py``).
What is not known here is told as such (``UnsupportedError``), never guessed.
"""
