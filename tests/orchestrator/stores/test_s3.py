"""S3, against moto over real HTTP; and what its client makes of answers that are late or lost."""

import json
import subprocess
import sys
import uuid

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from analysis.errors import StorageError
from analysis.folder import Folder
from orchestrator.errors import UserError
from orchestrator.stores import open_store, reach
from orchestrator.stores.s3 import S3Store
from tests.orchestrator.stores.conformance import Conformance
from tests.s3server import BUCKET, s3_server


@pytest.fixture(scope="module")
def server():
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def where(server):
    return f"s3://{BUCKET}/some/{uuid.uuid4().hex}"


@pytest.fixture
def store(where):
    return open_store(where)


class TestS3(Conformance):
    """A prefix in a bucket."""

    @pytest.fixture
    def store(self, where):
        return open_store(where)


def test_prefixes_that_begin_alike_are_apart(where):
    one, two, bucket = open_store(where), open_store(f"{where}2"), open_store(f"s3://{BUCKET}")
    one.create("a", b"1")
    two.create("b", b"2")
    assert (one.names(""), two.names("")) == (["a"], ["b"])
    assert "some" in bucket.names("")
    assert where.rpartition("/")[2] in bucket.names("some")
    assert open_store(f"{where}/").where == one.where


def test_the_analysis_reads_it_without_us(store, where):
    """By pyarrow's own client, with the same endpoint, region and credentials."""
    store.create("tables/runs/a", b"12345")
    folder = Folder.of(where)
    assert folder.sizes("tables/runs") == {"a": 5}
    assert folder.open("tables/runs/a").read() == b"12345"


# answers that are late, lost or not yes


class Client:
    """A client that does a thing, and answers something else: ``answers``, one a put."""

    def __init__(self, client, answers):
        self._client, self._answers = client, list(answers)

    def __getattr__(self, name):
        return getattr(self._client, name)

    def put_object(self, **request):
        answer = self._answers.pop(0) if self._answers else None
        return self._client.put_object(**request) if answer is None else answer(
            self._client, request)


def refused(status, code):
    def answer(client, request):
        raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},
                          "PutObject")

    return answer


def lost(client, request):
    """It is done, but nobody hears of it."""
    client.put_object(**request)
    raise ReadTimeoutError(endpoint_url="x")


def swallowed(client, request):
    """It is not done, and nobody hears of it."""
    raise ReadTimeoutError(endpoint_url="x")


def overtaken(client, request):
    """It is not done, another does it meanwhile, and nobody hears of either."""
    client.put_object(**{**request, "Body": b"theirs"})
    raise ReadTimeoutError(endpoint_url="x")


@pytest.mark.parametrize(("answers", "mine"), [
    ([refused(409, "ConditionalRequestConflict")] * 2, True),
    ([refused(503, "SlowDown")], True), ([refused(500, "InternalError")], True),
    ([lost], True),  # the second time it exists: by the first
    ([swallowed, swallowed], True), ([swallowed, lost], True),
    ([overtaken], False), ([lost, swallowed], True),
], ids=["conflict", "slow", "broken", "lost", "swallowed", "both", "overtaken", "long"])
def test_whose_an_object_is_after_answers_that_were_late_or_lost(store, answers, mine, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    store._client = Client(store._client, answers)
    assert store.create("x", b"mine") is mine
    assert store.read("x") == (b"mine" if mine else b"theirs")


def test_a_lost_answer_to_replace_is_asked_again(store, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    store._client = Client(store._client, [swallowed, lost])
    store.replace("x", b"new")
    assert store.read("x") == b"new"


def test_patience_ends_and_says_so(where):
    store = S3Store(where, patience_s=0.3)
    store._client = Client(store._client, [refused(503, "SlowDown")] * 99)
    with pytest.raises(StorageError, match="no answer from http://127") as caught:
        store.create("x", b"")
    assert caught.value.where == f"{where}/x"
    assert "what is committed is kept" in caught.value.fix
    assert store.read("x") is None


@pytest.mark.parametrize(("status", "code", "what", "fix"), [
    (403, "AccessDenied", "S3 denies access", "s3:PutObject"),
    (400, "ExpiredToken", "have expired", "get new ones"),
    (403, "InvalidAccessKeyId", "does not know these credentials", "AWS_ACCESS_KEY_ID"),
    (403, "SignatureDoesNotMatch", "does not know these credentials", "AWS_ACCESS_KEY_ID"),
    (301, "PermanentRedirect", "another region", "AWS_REGION"),
    (403, "RequestTimeTooSkewed", "clock", "set the clock"),
    (501, "NotImplemented", "conditional writes", "newer version"),
])
def test_what_s3_refuses_is_said_with_a_cure_and_at_once(store, status, code, what, fix):
    client = Client(store._client, [refused(status, code)] * 2)
    store._client = client
    with pytest.raises(StorageError, match=what) as caught:
        store.create("x", b"")
    assert fix in caught.value.fix
    assert len(client._answers) == 1


# what a user has not set up


def test_a_bucket_that_is_not_there(server):
    with pytest.raises(UserError, match="there is no such bucket") as caught:
        reach("s3://no-such-bucket-here/x")
    assert "AWS_ENDPOINT_URL" in str(caught.value)


def test_a_server_that_is_not_there(server, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("orchestrator.stores.QUICK_S", 0.2)
    with pytest.raises(UserError, match=r"no answer from http://127\.0\.0\.1:1"):
        reach(f"s3://{BUCKET}/x")


def test_no_credentials(server, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(UserError, match="no credentials for S3 are found") as caught:
        reach(f"s3://{BUCKET}/x")
    assert "AWS_PROFILE" in str(caught.value)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UserError, match="no credentials for S3 are found"):
        reach(f"s3://{BUCKET}/x")


def test_without_boto3():
    code = ("import sys; sys.modules['boto3'] = None\n"
            "from orchestrator.stores import reach\n"
            "from orchestrator.errors import UserError\n"
            "import json\n"
            "try:\n    reach('s3://bucket/x')\n"
            "except UserError as error:\n    print(json.dumps(str(error)))\n")
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    text = json.loads(said.stdout)
    assert "s3:// needs boto3, which is not installed" in text
    assert "pip install 'sgdscope[s3]'" in text
