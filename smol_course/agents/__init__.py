"""Module 8: a calendar, its tools, the agent and the sandbox for its code, training traces, and pages to search."""
