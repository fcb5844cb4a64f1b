"""The CustomResourceDefinitions, made from the models.

In: the models of ``apis`` as classes. Out: the definitions as plain values and as YAML. ``schema`` turns a model into
a structural schema, ``rules`` holds in CEL what the models hold as functions, ``exceptions`` where the published schema
differs from what its model would give, ``definitions`` everything around the schema.

What may go wrong: a model with a validator that has no CEL, or a type that a structural schema cannot state. Both are
our own bugs and raise ``LookupError``, which the tests find. Only the command ``crds`` imports this package.
"""
