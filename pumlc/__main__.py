"""``python -m pumlc``, ``torchrun -m pumlc``: the command line."""

from pumlc.cli.main import main

if __name__ == "__main__":
    main()
