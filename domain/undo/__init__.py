"""Undoing runs, by value, newest first (R20).

request: what users ask for · begin: the undo's row and its task · known: what is read and locked · plan: the
decisions, pure · write: the statements · step: the task, step by step · overview: what is shown.
"""
