"""S3 in this process: objects with conditional creation, by the requests that S3Store makes."""

import io
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from tests.faults.nemesis import Nemesis


class Bucket:
    """Stands in for boto3's client; every request goes through the nemesis."""

    def __init__(self, objects: dict[str, bytes] | None = None, nemesis: Nemesis | None = None):
        self.objects = {} if objects is None else objects
        self.nemesis = nemesis or Nemesis()
        self.meta = SimpleNamespace(endpoint_url="http://bucket")

    def put_object(self, *, Key: str, Body: bytes, IfNoneMatch: str = "", **_: str) -> None:
        def put() -> None:
            if IfNoneMatch and Key in self.objects:
                raise _error(412, "PreconditionFailed")
            self.objects[Key] = bytes(Body)

        self.nemesis.around("put", Key, put)

    def get_object(self, *, Key: str, **_: str) -> dict[str, Any]:
        def get() -> dict[str, Any]:
            if Key not in self.objects:
                raise _error(404, "NoSuchKey")
            return {"Body": io.BytesIO(self.objects[Key])}

        return self.nemesis.around("get", Key, get)

    def delete_object(self, *, Key: str, **_: str) -> None:
        self.nemesis.around("delete", Key, lambda: self.objects.pop(Key, None))

    def list_objects_v2(self, *, Prefix: str, Delimiter: str, **_: str) -> dict[str, Any]:
        return self.nemesis.around("list", Prefix, lambda: self._list(Prefix, Delimiter))

    def _list(self, prefix: str, delimiter: str) -> dict[str, Any]:
        folders, found = set(), []
        for key in sorted(self.objects):
            if key.startswith(prefix):
                rest = key[len(prefix):]
                if delimiter in rest:
                    folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
                else:
                    found.append({"Key": key, "Size": len(self.objects[key])})
        return {"CommonPrefixes": [{"Prefix": f} for f in sorted(folders)], "Contents": found,
                "IsTruncated": False}


def _error(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code},
                        "ResponseMetadata": {"HTTPStatusCode": status}}, "request")


class Clock:
    """``time`` as a store sees it: waiting takes none."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
