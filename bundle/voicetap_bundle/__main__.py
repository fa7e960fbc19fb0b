"""`python -m voicetap_bundle` runs the `voicetap` command."""

from .cli import main

main()
