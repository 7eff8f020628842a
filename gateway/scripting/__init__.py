"""What the orchestrator scripts of products import: the module ``registry``, with nothing but itself.

This directory stands on the module path of scripts, so each module in it is one that they can import.
"""
