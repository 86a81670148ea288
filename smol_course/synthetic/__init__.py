"""Module 6: synthetic messages, made and checked, and the ways in which people scribble days and times."""
