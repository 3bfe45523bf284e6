"""estats top: the connections of a host on a full screen, now or at any time of the history.

What is shown is made without Textual (rows, columns, curves, sentences) and drawn by the modules
that import it: ``screen``, ``table``, ``connection`` and ``help``. No other module does.
"""
