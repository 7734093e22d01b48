# SPDX-License-Identifier: Apache-2.0
"""Text that others wrote, made fit to be shown. Pure."""


def plain(text: str, most: int) -> str:
    """Return text of at most so many bytes of UTF-8, on one line.

    What could move the cursor, turn the direction of writing or hide in between is shown as its
    number. What is cut off is shown by a final ….
    """
    head = text[: 2 * most]
    if not head.isprintable():
        head = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in head)
    shown = head.encode(errors="backslashreplace")
    if len(shown) <= most and len(text) <= 2 * most:
        return shown.decode()
    return shown[: max(0, most - 3)].decode(errors="ignore") + "…"
