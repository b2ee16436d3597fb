"""What S3's answers mean: whether to ask again, and what a user should read."""

from enum import Enum, auto

from botocore import exceptions as boto
from botocore.exceptions import ClientError

from analysis.errors import StorageError

_NO_CREDENTIALS = (boto.NoCredentialsError, boto.PartialCredentialsError,
                   boto.CredentialRetrievalError, boto.NoAuthTokenError, boto.TokenRetrievalError,
                   boto.SSOError, boto.ProfileNotFound)
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"}
_WRONG = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure",
          "InvalidClientTokenId"}
_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "301",
           "IllegalLocationConstraintException"}
_SET = ("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, on every machine that "
        "takes part")


class Answer(Enum):
    """LOST: it may have been done. AGAIN: it was not done, but may be if asked again."""

    LOST = auto()
    AGAIN = auto()
    EXISTS = auto()
    ABSENT = auto()
    REFUSED = auto()


def answer(error: Exception) -> Answer:
    """What an error of botocore says of the request."""
    if not isinstance(error, ClientError):
        if isinstance(error, boto.EndpointConnectionError | boto.ConnectTimeoutError):
            return Answer.AGAIN
        lost = isinstance(error, boto.HTTPClientError | boto.IncompleteReadError)
        refused = isinstance(error, boto.SSLError | boto.ProxyConnectionError)
        return Answer.LOST if lost and not refused else Answer.REFUSED
    status, code = _status(error), _code(error)
    if status == 412:
        return Answer.EXISTS
    if code == "NoSuchKey":
        return Answer.ABSENT
    if status in (409, 429) or code in ("SlowDown", "Throttling", "RequestTimeout"):
        return Answer.AGAIN
    return Answer.LOST if status in (500, 502, 503, 504) else Answer.REFUSED


def told(error: Exception, where: str, endpoint: str) -> StorageError:
    """The error in words: what, where, how to mend it. Nothing secret is in them."""
    what, fix = _words(error, endpoint)
    return StorageError(what, where=where, fix=fix)


def _words(error: Exception, endpoint: str) -> tuple[str, str]:
    code, bucket = _code(error), "check the bucket's name, AWS_ENDPOINT_URL and AWS_REGION"
    if isinstance(error, _NO_CREDENTIALS):
        return "no credentials for S3 are found in the environment", _SET
    if code in _EXPIRED:
        return "the credentials for S3 have expired", (
            "get new ones, then give the same command again: what is committed is kept")
    if code in _WRONG:
        return f"S3 does not know these credentials ({code})", _SET
    if code == "NoSuchBucket":
        return "there is no such bucket", f"create it, or {bucket}"
    if code in _REGION:
        return "the bucket is in another region", "set AWS_REGION to the bucket's own region"
    if code == "RequestTimeTooSkewed":
        return "this machine's clock is wrong, so S3 refuses it", "set the clock"
    if code == "NotImplemented" or _status(error) == 501:
        return "this server knows no conditional writes (If-None-Match)", (
            "use a newer version of it, or a shared folder")
    if code == "AccessDenied" or _status(error) in (401, 403):
        return "S3 denies access", ("allow s3:ListBucket on the bucket and s3:GetObject, "
                                    "s3:PutObject and s3:DeleteObject on its objects")
    if answer(error) in (Answer.LOST, Answer.AGAIN):
        return f"no answer from {endpoint}", ("check the network and AWS_ENDPOINT_URL, then give "
                                              "the same command again: what is committed is kept")
    return _first_line(error), f"{bucket}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _code(error: Exception) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(
        error, ClientError) else ""


def _status(error: Exception) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if isinstance(
        error, ClientError) else 0
