"""Data roots that earlier versions made, used by this one."""
