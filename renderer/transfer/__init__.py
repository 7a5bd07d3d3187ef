"""Files, prints and clipboard pictures between a page and its viewer: kept in the session's private directory, judged, and passed in pieces."""
