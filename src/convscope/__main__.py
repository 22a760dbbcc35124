"""`python -m convscope`, which is also how torchrun starts it."""

from convscope.cli import main

if __name__ == "__main__":
    main()
