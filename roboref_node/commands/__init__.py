"""Subcommands of ``roboref``, one module each: ``add_arguments(parser)`` and ``run(args)``."""
