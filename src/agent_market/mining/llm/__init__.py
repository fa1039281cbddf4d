"""The language model as a proposer: asked through any OpenAI-compatible endpoint, trusted with nothing.

What it writes can become an expression that our parser reads, a name, one of a few categories, or a hypothesis that is
shown to people; nothing of it is run.
"""
