"""``python -m augment`` is the ``augment`` command."""

from augment.cli.app import main

if __name__ == "__main__":
    main()
