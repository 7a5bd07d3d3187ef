"""From the person's hands to the page: checked against the session's controls, put in order, and handed to Chromium."""
