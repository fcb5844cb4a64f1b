"""Decides what to rebuild after a change; the only caller of ``translate``.

``inventory`` lists the targets a proxy class holds, in parts that classes share; ``compiler`` keeps each part's
built resources and each class's snapshot, and after a change swaps exactly what differs; ``holdoff`` gathers
bursts. A failing translator costs its own resource only: the last good one stays.
"""
