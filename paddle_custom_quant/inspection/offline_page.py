"""An HTML page that needs nothing else: its parts in their places, and a policy for them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping


def filled(template: str, slots: Mapping[str, str]) -> str:
    """The template with what belongs into its ``{{name}}`` places."""
    pieces = template.split("{{")
    page = [pieces[0]]
    for piece in pieces[1:]:
        name, _, rest = piece.partition("}}")
        page += [slots[name], rest]
    return "".join(page)


def policy(script: str, style: str, *more: str) -> str:
    """A content security policy that lets this script and style run and nothing else.

    Args:
        script: the page's inline script.
        style: its inline style.
        more: further directives, such as ``img-src data:``.
    """
    held = ["default-src 'none'", f"script-src {_hash(script)}", f"style-src {_hash(style)}", *more]
    return "; ".join(held)


def _hash(content: str) -> str:
    """How a content security policy names an inline script or style."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


__all__ = ["filled", "policy"]
