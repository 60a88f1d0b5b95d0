"""``python -m daskgmm``."""

from daskgmm.pipeline.cli import main

if __name__ == "__main__":
    main()
