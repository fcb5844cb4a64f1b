"""AuthorizationPolicy and RequestAuthentication as Envoy's filters.

``filters`` is the query that listeners read: everything that policies put onto the chains of one workload. ``rules``
makes Envoy's permissions and principals of one rule, out of ``matchers``, ``sources`` and ``conditions``; ``rbac`` and
``external`` make filters of policies, ``tokens`` those of RequestAuthentication. What cannot be translated closes: of
an ALLOW rule it makes the rule match nothing, of every other action it makes the rule match more.
"""
