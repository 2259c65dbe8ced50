"""What a release needs beside the package: the checklist (``make release-check``) and the list of components.

Not part of the package. Here: what is checked of the project as a whole. Not here: how packages are built
(``packaging``), tests of the code (``tests``), measurements (``perf``).
"""
