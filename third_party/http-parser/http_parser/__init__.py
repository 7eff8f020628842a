"""The part of the http-parser distribution that pymesos imports, over httptools.

http-parser 0.9.0 ships C made by an old Cython and does not compile on Python 3.11 and later.
"""
