"""S3, and what speaks its language: conditional writes through boto3.

The endpoint, the region and the credentials come from where boto3 looks for them: AWS_ENDPOINT_URL,
AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's own role.
"""

import os
import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache
from typing import Any, TypeVar

from analysis.folder import Folder
from orchestrator.errors import Problem, UserError
from orchestrator.stores.place import bucket_of

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    raise UserError(Problem("s3:// needs boto3, which is not installed", "storage",
                            "pip install 'sgdscope[s3]', on every machine that takes part")
                    ) from None

from orchestrator.stores.s3errors import Answer, answer, told
from orchestrator.stores.store import inner

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 8.0
_Answer = TypeVar("_Answer")


class S3Store:
    """A prefix in a bucket. An object is visible whole or not at all, and at once."""

    exclusive = True

    def __init__(self, where: str, patience_s: float):
        self.where, self._patience_s = where, patience_s
        self._bucket, self._prefix = bucket_of(where)
        settings = tuple(sorted((k, v) for k, v in os.environ.items() if k.startswith("AWS_")))
        try:
            self._client = _client(settings, os.getpid(), patience_s)
        except (BotoCoreError, ValueError) as error:  # a profile that is not there, a bad endpoint
            raise told(error, where, "") from error

    @property
    def folder(self) -> Folder:
        from orchestrator.stores.files import folder_of

        return folder_of(self)

    def create(self, path: str, content: bytes) -> bool:
        """See Store. PutObject with If-None-Match: of several writers one is let through.

        After an answer that was lost, an object that is there may be this call's own.
        """
        lost = False

        def put(before: Answer | None) -> bool:
            nonlocal lost
            lost |= before is Answer.LOST
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._key(path), Body=content,
                                        IfNoneMatch="*")
                return True
            except ClientError as error:
                if answer(error) is not Answer.EXISTS:
                    raise
                return lost and self.read(path) == content

        return self._patiently(path, put)

    def replace(self, path: str, content: bytes) -> None:
        """See Store."""
        self._patiently(path, lambda _: self._client.put_object(
            Bucket=self._bucket, Key=self._key(path), Body=content))

    def read(self, path: str) -> bytes | None:
        """See Store."""
        def get(_: Answer | None) -> bytes | None:
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(path))
                return found["Body"].read()
            except ClientError as error:
                if answer(error) is not Answer.ABSENT:
                    raise
                return None

        return self._patiently(path, get)

    def names(self, folder: str, start: str = "") -> list[str]:
        """See Store."""
        return list(self._listed(folder, start))

    def sizes(self, folder: str) -> dict[str, int | None]:
        """See Store."""
        return self._listed(folder, "")

    def delete(self, path: str) -> None:
        """See Store."""
        self._patiently(path, lambda _: self._client.delete_object(
            Bucket=self._bucket, Key=self._key(path)))

    def hold(self, path: str) -> ExitStack:  # noqa: ARG002
        """Nothing: S3 has no locks."""
        return ExitStack()

    def free(self) -> int | None:
        """S3 has no end."""
        return None

    def _key(self, path: str) -> str:
        return "/".join(part for part in (self._prefix, inner(path)) if part)

    def _listed(self, folder: str, start: str) -> dict[str, int | None]:
        base = self._key(folder.strip("./"))
        base = f"{base}/" if base else ""
        found: dict[str, int | None] = {}
        page: dict[str, str] = {}
        while True:
            one = self._patiently(folder, lambda _: self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=base + start, Delimiter="/", **page))  # noqa: B023
            found |= {p["Prefix"][len(base):-1]: None for p in one.get("CommonPrefixes", ())}
            found |= {o["Key"][len(base):]: o["Size"] for o in one.get("Contents", ())}
            if not one.get("IsTruncated"):
                break
            page = {"ContinuationToken": one["NextContinuationToken"]}
        return {n: found[n] for n in sorted(found) if n and not n.startswith(".")}

    def _patiently(self, path: str, ask: Callable[[Answer | None], _Answer]) -> _Answer:
        """``ask(what came of the time before)``, again and again while it may still succeed."""
        start, wait, before = time.monotonic(), FIRST_WAIT_S, None
        while True:
            try:
                return ask(before)
            except (BotoCoreError, ClientError) as error:
                before = answer(error)
                late = time.monotonic() - start + wait > self._patience_s
                if before not in (Answer.LOST, Answer.AGAIN) or late:
                    raise told(error, f"{self.where}/{path}".rstrip("/"),
                               self._client.meta.endpoint_url) from error
            time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  (not all at once)
            wait = min(2 * wait, LONGEST_WAIT_S)


@lru_cache(8)
def _client(settings: tuple[tuple[str, str], ...], process: int, patience_s: float) -> Any:  # noqa: ARG001
    """One a process and environment: to make one takes a third of a second."""
    own = any(name.startswith("AWS_ENDPOINT_URL") for name, _ in settings)
    more: dict[str, Any] = {}
    if own:  # not every server has a name a bucket, or knows the newer checksums
        more = {"s3": {"addressing_style": "path"}, "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required"}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=min(5.0, patience_s),
                    read_timeout=min(60.0, patience_s), max_pool_connections=16, **more)
    return boto3.session.Session().client(
        "s3", region_name=region or ("us-east-1" if own else None), config=config)
