"""Text to checked configuration: YAML and environment in, frozen :class:`~isolation.settings.model.Settings` out.

``document`` reads YAML and remembers where each value stands; ``schema`` is the shape, with a sentence for every key; ``load`` checks
everything at once and reports each problem by path, file and line.
"""
