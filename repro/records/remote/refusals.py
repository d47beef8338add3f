"""What a storage refuses, in one sentence, without a password."""

from __future__ import annotations

import re
from collections.abc import Iterable

from repro.system.errors import StorageError

_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}
# Up to the last @ before the path; a password may hold an @, and carelessly a /, but no port does.
_SECRET = re.compile(r"(\w://)(?:[^/\s]*@|[^/@:\s]*:(?!\d+(?:/|$))\S*@)")


def shown(url: str) -> str:
    """The URL without a password, for messages and records."""
    return _SECRET.sub(r"\1", url)


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _named(error: Exception) -> set[str]:
    return {type(link).__name__ for link in _chain(error)}


def code(error: Exception) -> str:
    """The store's own code of a refusal, where there is one."""
    for link in _chain(error):
        response = getattr(link, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def may_pass(error: Exception) -> bool:
    """Whether the same call can succeed later: the network failed, nothing was refused."""
    if _named(error) & (_NO_CREDENTIALS | {"ParamValidationError", "InvalidEndpoint"}):
        return False
    return not isinstance(error, (PermissionError, FileNotFoundError, FileExistsError, TypeError))


def refusal(error: Exception, url: str, bucket: str) -> StorageError:
    """One sentence for what a storage said, and what to do; without a password."""
    url = shown(url)
    what = shown(" ".join(str(error).split()).rstrip("."))
    if _named(error) & _NO_CREDENTIALS:
        return StorageError(
            f"no credentials for {url} ({what}); set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, then run the same command again"
        )
    if isinstance(error, PermissionError) or code(error) in ("403", "Forbidden"):
        return StorageError(
            f"{url} refuses these credentials ({what}); use some that may list, read and "
            "write there, then run the same command again"
        )
    if isinstance(error, FileNotFoundError) or code(error) in ("404", "NoSuchBucket"):
        return StorageError(
            f"{url}: there is no bucket {bucket} ({what}); create it or name another"
        )
    return StorageError(
        f"{url} cannot be reached ({type(error).__name__}: {what}); run the same command again "
        "when the network is back"
    )
