"""Check the addresses of files, and encode them for HTTP."""

import re
from collections.abc import Collection

from stemsplit.errors import InputError


def encoded(address: str, schemes: Collection[str]) -> str:
    """Return an address in ASCII: ``é`` becomes ``%C3%A9`` in a path, and Punycode in a host.

    Raises `InputError` if the address has none of the schemes, or can never be reached.
    """
    from pydantic_core import Url, ValidationError  # late, because it takes 0.1 s

    begins = [f"{scheme}://" for scheme in schemes]
    if not address.casefold().startswith(tuple(begins)):
        raise InputError(f"{address}: an address starts with {' or '.join(begins)}")
    try:
        url = Url(address)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].rpartition(", ")[2]
        raise InputError(f"{address}: is not an address: {reason}") from None
    # Url takes the first folder of http:///folder/file for the host.
    if url.scheme != "file" and re.match(r"\w+://[\s/\\?#]", address):
        raise InputError(f"{address}: has no host")
    if url.username or url.password:
        raise InputError(f"{address}: user names and passwords in addresses are not supported")
    try:
        (url.host or "").encode("idna")  # as the look-up of the host does
    except UnicodeError:
        raise InputError(f"{address}: a part of the host's name is empty or too long") from None
    return str(url)
