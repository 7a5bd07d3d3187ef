"""Who may do what, and how isolated. Pure: facts in, verdict out.

``facts`` is what is known; ``model`` is what the administrator wrote; ``conditions`` holds one selector per file;
``evaluate`` decides; ``explain`` shows the same matcher at work; ``isolation`` chooses mode and controls.
"""
