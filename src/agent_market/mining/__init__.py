"""Factor mining: a genetic search, known sets and a language model propose; statistics decide.

Proposers see the search segment only. What they propose is read by the factor language, checked, and scored there; few
nominees are tested once on the gate segment, with false discoveries controlled over all trials that the ledger counts.
`run.mine` does a whole round in memory.
"""
