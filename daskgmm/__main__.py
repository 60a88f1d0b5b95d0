"""``python -m daskgmm``."""

from daskgmm.pipeline.cli.main import main

if __name__ == "__main__":
    main()
