"""The incremental engine, without a word of the domain: pure functions, remembered with what each of them read.

Comes in: *queries*, and the facts that changed. Goes out: their values, each computed again only where something that
it read has another value now. What may go wrong: a query that fails is remembered as a failure, for those who read it;
an isolated one keeps its last good value.
"""
