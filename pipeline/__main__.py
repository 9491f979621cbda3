"""`python -m pipeline` is the command `tuneup`."""

from .cli import main

main()
