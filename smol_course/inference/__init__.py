"""Module 7: the model as GGUF for other engines, those engines, and the front of a server."""
