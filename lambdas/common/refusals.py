"""Why DynamoDB refused a write, read from its error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

BUSY = frozenset(
    {
        "TransactionConflict",
        "TransactionInProgressException",
        "ThrottlingError",
        "ThrottlingException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
    }
)
"""Reasons for which a transaction is worth another try (DynamoDB, TransactWriteItems: cancellation reasons, errors)."""
INVALID = frozenset({"ValidationError", "ValidationException", "ItemCollectionSizeLimitExceeded"})
"""Reasons that no further try removes (the same page)."""


def row_against(error: ClientError) -> Mapping[str, Any] | None:
    """The item that failed the condition ({} when there was none); None when the error is another one."""
    response: Any = error.response
    match response["Error"]["Code"]:
        case "ConditionalCheckFailedException":
            return response.get("Item") or {}
        case "TransactionCanceledException":
            failed = [r for r in response.get("CancellationReasons", []) if r.get("Code") == "ConditionalCheckFailed"]
            return (failed[0].get("Item") or {}) if failed else None
    return None
