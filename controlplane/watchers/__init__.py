"""Where objects come from: a directory of YAML, read by ``files``, or a Kubernetes cluster, read by ``kubernetes``.

Comes in: raw Kubernetes and Istio objects, as text somebody wrote. Goes out: ``ChangeSet`` values, first one
complete list, then only what differs. Text becomes plain values in ``documents``, a plain value becomes an
``Object`` in ``kinds`` (``core_kinds`` for Kubernetes' own), one file's bytes become a ``Reading`` in ``reading``,
and ``files`` keeps the readings of a directory and settles who defines what.

What may go wrong is a value too. An object that cannot be used is a ``Rejected`` with every reason, and its last
good version stays; a file that cannot be read keeps the objects it had; a kind that nothing here reads is counted
and named once in the log. No input raises past this package.
"""
