"""The patches of EnvoyFilters, as Envoy's messages.

In: the JSON of a patch and what it is applied to. Out: what is wrong with it. Wrong values are findings, not
exceptions. Envoy's messages load slowly: import this where there is an EnvoyFilter.
"""
