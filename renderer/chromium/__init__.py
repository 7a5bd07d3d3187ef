"""Chromium: which one, with which flags and why, how it starts, how we know its sandbox holds, and how a pool of them lives."""
