"""A Kubernetes cluster as a source of objects.

Comes in: the lists and watches of one API server. Goes out: the same ``ChangeSet`` values as from files, first one
complete list of every kind, then only what differs. ``resources`` states which kinds are read and how; ``api`` moves
bytes, with the ``kubernetes`` package underneath, and makes values of the ways in which that fails; ``reflector``
keeps one kind of one namespace, or of all, equal to the cluster; ``cache`` is what it holds of it, and ``selection``
which of that counts here; ``discovery`` says which API versions are served now; ``source`` puts them together.

What may go wrong: everything between here and the API server, at any time. Then what was read before stays, the
feeds try again with growing pauses, and what differs afterwards comes out as one change set. Only a configuration
that cannot be used at all (no such kubeconfig) raises, and only from ``load``.
"""
