"""`python -m zerrow` is the `zerrow` command."""

from zerrow._entry import main

if __name__ == "__main__":
    main()
