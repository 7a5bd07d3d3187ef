"""From Chromium's frames to the stream: decode, compare, find what only moved, encode the rest again, at the viewer's pace."""
