"""`python -m minipacs` is `minipacs`."""

from minipacs.cli import main

main()
