"""`python -m voicetap_bundle` is `voicetap`."""

from .cli import main

main()
