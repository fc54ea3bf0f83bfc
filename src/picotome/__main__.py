"""``python -m picotome`` is ``picotome``."""

from picotome.cli import main

main()
