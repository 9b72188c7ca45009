"""The package bucket: packages under their content hash, templates too long for a call; emptied before it goes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from bootstrap.errors import BootstrapError
from bootstrap.package import Package
from bootstrap.stack import Template

INLINE_BYTES, S3_BYTES = 51_200, 1_000_000
"""Largest template in a call, and in S3 (CloudFormation guide, "Understand CloudFormation quotas")."""


def upload(s3: Any, bucket: str, packages: Sequence[Package], report: Callable[[str], None]) -> None:
    """What is not there yet."""
    for built in packages:
        if not _exists(s3, bucket, built.key):
            s3.upload_file(str(built.path), bucket, built.key)
            report(f"{built.function} package uploaded ({built.path.stat().st_size // 1024} KB)")


def template(s3: Any, bucket: str | None, path: Path) -> Template:
    """As CloudFormation takes it: its text; one too long for a call goes through the bucket, if there is one.

    Raises:
        BootstrapError: it is too long.
    """
    body = path.read_text()
    size, limit = len(body.encode()), S3_BYTES if bucket else INLINE_BYTES
    if size <= INLINE_BYTES:
        return Template(path.name, body)
    if size > limit:
        raise BootstrapError(
            f"{path.name} has {size:,} bytes; CloudFormation takes {limit:,}.", "Shorten it, or split it in two."
        )
    key = f"templates/{hashlib.sha256(body.encode()).hexdigest()[:32]}.yaml"
    s3.put_object(Bucket=bucket, Key=key, Body=body.encode())
    return Template(path.name, body, f"{s3.meta.endpoint_url}/{bucket}/{key}")


def empty(s3: Any, bucket: str) -> None:
    """Every version of every object, should somebody have switched versioning on."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if found:
            objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in found]
            s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})


def _exists(s3: Any, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
            return False
        raise
    return True
