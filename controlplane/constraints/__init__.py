"""What Envoy would refuse a message for, told before it is sent.

In: a message of Envoy, of any type. Out: what is wrong in it, each with the path of the field, or nothing. There are
three sources: the rules that Envoy's protos state of their fields (``rules``), what Envoy checks beyond them when it
loads a message (``loading``), and whether the type of a packed message is known at all. ``checker`` compiles them for
each type once and walks messages, packed ones too. What depends on the machine that the Envoy runs on (an address that
is not its own, a file that is not there) cannot be told here.
"""
