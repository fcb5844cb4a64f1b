"""What is wrong with the configuration, or without effect, although each object is right by itself.

``findings`` gathers what its neighbours see: hosts, servers and subsets that several objects claim, objects that
another one overrules, references to nothing. ``untranslated`` names the fields that are read and have no effect here,
``problems`` joins all that is known for the log and for those who ask. Nothing here changes what a proxy is sent.
"""
