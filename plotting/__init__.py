"""From samples of connections to lines, and from lines to a terminal's text or a picture."""
