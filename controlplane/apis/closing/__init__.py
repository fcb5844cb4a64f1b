"""What stands for a policy that cannot be used and of which no good version is known.

A policy that is not there leaves its workloads open, so one that cannot be read may not count as if it were not there.
In goes a ``spec`` as written, out comes a model of the same kind that refuses at least what the policy was to refuse,
as far as that can be read, and never lets in more than what stands without it. Nothing is raised.
"""
