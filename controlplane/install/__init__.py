"""What an installation consists of: from the words of a user to objects of Kubernetes.

In: a profile, IstioOperator files and ``--set`` options, in Istio's names (``operator``, ``paths``). Out: the objects
of each component, in the order in which they are to be applied (``plan``). The Helm charts in ``charts`` are the only
statement of what the objects are: ``chart`` renders them here as Helm does, so that ``helm install`` and ``install``
make the same. ``keys`` names what a user states that nothing reads, ``settings`` is what an IstioOperator changes of
objects after they are rendered. All of this is pure. ``cluster`` talks to an API server, and ``apply``,
``verification`` and ``removal`` say what to it.

What can go wrong is a ``RefusedInputError``, which names file, path and reason, all at once where there are several.
"""
