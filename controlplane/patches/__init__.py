"""The patches of EnvoyFilters, as Envoy's messages, and what they do to other messages.

In: a patch as it is written, and a message of Envoy that is there. Out: what is wrong with the patch (``check``), or
the steps that change the message (``listeners``, ``routes``, ``clusters``). Each step is one patch; one that cannot be
applied says so (``PatchError``) and the others go on without it. Whether Envoy takes what comes out is not known here.
Envoy's messages load slowly: import this where there is an EnvoyFilter.
"""
