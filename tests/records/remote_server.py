"""A local server that speaks S3, shared by the tests of runs on shared storage."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

BUCKET = "bucket"
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


@contextlib.contextmanager
def serving() -> Iterator[dict[str, str]]:
    """The environment under which S3 is the local server, with one empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {
            "aws_access_key_id": SETTINGS["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": SETTINGS["AWS_SECRET_ACCESS_KEY"],
        }
        boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(
            Bucket=BUCKET
        )
        yield {**SETTINGS, "AWS_ENDPOINT_URL": url}
    finally:
        server.stop()
