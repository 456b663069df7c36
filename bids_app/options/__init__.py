"""Every option of the command line, declared once: type, limits, default, help and documentation.

One dataclass a section of the settings, one field an option. The parser (`cli`), the checks (`settings`), TOML files,
the Boutiques descriptor and the tables of docs/usage.md are made from these declarations.
"""
