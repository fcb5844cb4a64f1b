"""Rules that a schema cannot state: what makes an object unusable, and what is only doubtful.

One module per kind with ``problems(spec, subject) -> (errors, warnings)``; ``primitives`` holds what they share. In: a
model that satisfies its schema. Out: every broken rule, with its path. Nothing raises.
"""
