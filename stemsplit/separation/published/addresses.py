"""Check the addresses of files, and encode them for HTTP."""

import re
from collections.abc import Collection

from stemsplit.errors import InputError


def encoded(address: str, schemes: Collection[str]) -> str:
    """Return an address in ASCII: ``é`` becomes ``%C3%A9`` in a path, and Punycode in a host.

    Raises `InputError` if the address is invalid, or does not start with one of `schemes`.
    """
    from pydantic_core import Url, ValidationError  # here, because the import takes 0.1 s

    begins = [f"{scheme}://" for scheme in schemes]
    if not address.casefold().startswith(tuple(begins)):
        raise InputError(f"{address}: an address must start with {' or '.join(begins)}")
    try:
        url = Url(address)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].rpartition(", ")[2]
        raise InputError(f"{address}: is not an address: {reason}") from None
    # In http:///folder/file, Url would use the folder as the host.
    if url.scheme != "file" and re.match(r"\w+://[\s/\\?#]", address):
        raise InputError(f"{address}: has no host")
    if url.username or url.password:
        raise InputError(f"{address}: user names and passwords in addresses are not supported")
    try:
        (url.host or "").encode("idna")  # the DNS lookup does the same
    except UnicodeError:
        raise InputError(f"{address}: a part of the host's name is empty or too long") from None
    return str(url)
