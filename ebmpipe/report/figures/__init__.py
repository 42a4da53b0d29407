"""Figures, one per file: the file's name is the figure's id."""
