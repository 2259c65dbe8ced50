"""Man pages and completion for shells, made from the tables of options when the package is built.

Belongs here: how a page and each shell's completion is written. Does not: any option's name or text, which its command
has, and the description of a command, which is the rest of its module's docstring.

``make.shared_files`` returns all of them; the build hook (``hatch_build.py``) puts them into the wheel's ``share``.
"""
