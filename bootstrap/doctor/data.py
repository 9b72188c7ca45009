"""Probes of what keeps the data: DynamoDB, IAM, and what is left after a restart."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import ClientError

from bootstrap.doctor.lab import ANYTHING, CONFIG, Lab, ProbeTimeout
from bootstrap.doctor.probe import Finding, Probe, as_aws, differs

GUIDE = "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide"
API = "https://docs.aws.amazon.com/amazondynamodb/latest/APIReference"
ROW: Mapping[str, Any] = {"PK": {"S": "T#1"}, "SK": {"S": "A"}, "attempts": {"N": "1"}}
KEY: Mapping[str, Any] = {"PK": {"S": "T#1"}, "SK": {"S": "A"}}
INDEX = "by-class"
FAR_FUTURE = 4_000_000_000


def refusal(call: Any, **parameters: Any) -> tuple[str, Mapping[str, Any]]:
    """Error code and answer of a call; "accepted" when there was no error."""
    try:
        return "accepted", call(**parameters)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response


def _update(lab: Lab, table: str, condition: str, values: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    return refusal(
        lab.aws("dynamodb").update_item,
        TableName=table,
        Key=KEY,
        UpdateExpression="SET touched = :yes",
        ConditionExpression=condition,
        ExpressionAttributeValues={":yes": {"BOOL": True}, **values},
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )


def _table_with_row(lab: Lab) -> str:
    table = lab.table()
    lab.aws("dynamodb").put_item(TableName=table, Item=ROW)
    return table


def _refused_write(lab: Lab) -> Finding:
    table = _table_with_row(lab)
    code, answer = _update(lab, table, "attempts = :two", {":two": {"N": "2"}})
    seen = f"{code}, {'with' if answer.get('Item') == ROW else 'without'} the old row"
    return as_aws(seen) if seen == "ConditionalCheckFailedException, with the old row" else differs(seen)


def _without_item(parsed: dict[str, Any], **_: Any) -> None:
    parsed.pop("Item", None)


def _counting(table: str, token: str, step: str) -> dict[str, Any]:
    """A transaction that adds `step` to the row's attempts."""
    update = {
        "TableName": table,
        "Key": KEY,
        "UpdateExpression": "ADD attempts :step",
        "ExpressionAttributeValues": {":step": {"N": step}},
    }
    return {"TransactItems": [{"Update": update}], "ClientRequestToken": token}


def _attempts(lab: Lab, table: str) -> str:
    found = lab.aws("dynamodb").get_item(TableName=table, Key=KEY, ConsistentRead=True)
    return str(found["Item"]["attempts"]["N"])


def _transaction(lab: Lab) -> Finding:
    dynamodb, table = lab.aws("dynamodb"), _table_with_row(lab)
    beside = {"PK": {"S": "T#1"}, "SK": {"S": "P"}}
    refused = {
        "TableName": table,
        "Item": ROW,
        "ConditionExpression": "attribute_not_exists(PK)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    items = [{"Put": {"TableName": table, "Item": beside}}, {"Put": refused}]
    code, answer = refusal(dynamodb.transact_write_items, TransactItems=items)
    reasons = [(reason.get("Code"), reason.get("Item")) for reason in answer.get("CancellationReasons", [])]
    left = "Item" in dynamodb.get_item(TableName=table, Key=beside, ConsistentRead=True)
    if code != "TransactionCanceledException" or left:
        return differs(f"{code}; the other write {'stayed' if left else 'was undone'}")
    if reasons != [("None", None), ("ConditionalCheckFailed", ROW)]:
        return differs(
            f"undone, but the reasons were {[reason for reason, _ in reasons]} and the rows not as they should"
        )
    return as_aws("undone as a whole; reasons in order, with the old row")


def _reasons_reversed(parsed: dict[str, Any], **_: Any) -> None:
    parsed.get("CancellationReasons", []).reverse()


def _client_token(lab: Lab) -> Finding:
    dynamodb, table, token = lab.aws("dynamodb"), _table_with_row(lab), uuid.uuid4().hex
    for _ in range(2):
        dynamodb.transact_write_items(**_counting(table, token, "1"))
    attempts = _attempts(lab, table)
    code, _answer = refusal(dynamodb.transact_write_items, **_counting(table, token, "5"))
    seen = f"sent twice, counted {int(attempts) - 1} time(s); another body under the token: {code}"
    return as_aws(seen) if (attempts, code) == ("2", "IdempotentParameterMismatchException") else differs(seen)


def _fresh_token(params: dict[str, Any], **_: Any) -> None:
    params["ClientRequestToken"] = uuid.uuid4().hex


def _mixed_types(lab: Lab) -> Finding:
    table = _table_with_row(lab)
    text, _ = _update(lab, table, "attempts < :text", {":text": {"S": "2"}})
    size, _ = _update(lab, table, "size(handedBack) < :two", {":two": {"N": "2"}})
    if text == size == "ConditionalCheckFailedException":
        return as_aws("both false: ConditionalCheckFailedException")
    return differs(f"number < text: {text}; size of nothing: {size}")


def _as_validation_error(parsed: dict[str, Any], **_: Any) -> None:
    parsed.get("Error", {})["Code"] = "ValidationException"


def _untidy_expressions(lab: Lab) -> Finding:
    table = _table_with_row(lab)
    doubled, _ = _update(lab, table, "((attempts = :one))", {":one": {"N": "1"}})
    unused, _ = _update(lab, table, "attempts = :one", {":one": {"N": "1"}, ":unused": {"N": "3"}})
    if doubled == unused == "ValidationException":
        return as_aws("both ValidationException")
    return differs(f"redundant parentheses: {doubled}; unused value: {unused}")


def _tidied(params: dict[str, Any], **_: Any) -> None:
    params["ConditionExpression"] = params["ConditionExpression"].replace("((", "").replace("))", "")
    params["ExpressionAttributeValues"].pop(":unused", None)


def _item_too_large(lab: Lab) -> Finding:
    dynamodb, table = lab.aws("dynamodb"), lab.table()
    fits, _ = refusal(dynamodb.put_item, TableName=table, Item={**KEY, "text": {"S": "x" * 400_000}})
    over, _ = refusal(dynamodb.put_item, TableName=table, Item={**KEY, "text": {"S": "x" * 410_000}})
    seen = f"400,000 bytes: {fits}; 410,000 bytes: {over}"
    return as_aws(seen) if (fits, over) == ("accepted", "ValidationException") else differs(seen)


def _shortened(params: dict[str, Any], **_: Any) -> None:
    params["Item"] = {**params["Item"], "text": {"S": "short"}}


def _time_to_live(lab: Lab) -> Finding:
    """Deletion itself may take days on AWS, so it is only reported. What has not expired has to stay."""
    dynamodb, table = lab.aws("dynamodb"), lab.table()
    wanted = {"Enabled": True, "AttributeName": "expiresAt"}
    dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=wanted)
    told = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    for sort, expires_at in (("gone", int(time.time()) - 3600), ("stays", FAR_FUTURE)):
        item = {"PK": {"S": "T#1"}, "SK": {"S": sort}, "expiresAt": {"N": str(expires_at)}}
        dynamodb.put_item(TableName=table, Item=item)
    left = _sorts_left(lab, table)
    seen = f"{told['TimeToLiveStatus']}; " + ("expired row deleted" if left == {"stays"} else "expired row still there")
    enabled = told["TimeToLiveStatus"] in ("ENABLED", "ENABLING") and told.get("AttributeName") == "expiresAt"
    return as_aws(seen) if enabled and "stays" in left else differs(seen)


def _sorts_left(lab: Lab, table: str) -> set[str]:
    def look() -> set[str]:
        return {item["SK"]["S"] for item in lab.aws("dynamodb").scan(TableName=table)["Items"]}

    try:
        return lab.until(look, lambda seen: "gone" not in seen, 3)
    except ProbeTimeout:
        return look()


def _told_disabled(parsed: dict[str, Any], **_: Any) -> None:
    parsed["TimeToLiveDescription"]["TimeToLiveStatus"] = "DISABLED"


def _indexed_table(lab: Lab) -> str:
    dynamodb, table = lab.aws("dynamodb"), lab.table()
    keys = (("classShard", "HASH"), ("classSort", "RANGE"))
    index = {
        "IndexName": INDEX,
        "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in keys],
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }
    dynamodb.update_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK", *dict(keys))],
        GlobalSecondaryIndexUpdates=[{"Create": index}],
    )
    lab.until(
        lambda: dynamodb.describe_table(TableName=table)["Table"]["GlobalSecondaryIndexes"][0]["IndexStatus"],
        lambda status: status == "ACTIVE",
    )
    return table


def _index(lab: Lab) -> Finding:
    dynamodb, table = lab.aws("dynamodb"), _indexed_table(lab)
    for number in range(6):
        row = {"PK": {"S": f"T#{number}"}, "SK": {"S": "A"}, "classSort": {"S": f"{number}"}}
        # A row without the partition key is not in the index.
        shard = {} if number == 3 else {"classShard": {"S": "O#0"}}
        dynamodb.put_item(TableName=table, Item={**row, **shard})
    lab.until(lambda: _pages(lab, table, 10), lambda pages: sum(map(len, pages)) == 4)
    pages = _pages(lab, table, 2)
    seen = f"pages {pages}"
    return as_aws(seen) if [page for page in pages if page] == [["1", "2"], ["4", "5"]] else differs(seen)


def _pages(lab: Lab, table: str, limit: int) -> list[list[str]]:
    """Sort keys 1 to 9, page by page, as the sweeper reads them."""
    bounds = {":shard": {"S": "O#0"}, ":after": {"S": "1"}, ":upTo": {"S": "9"}}
    request = {
        "TableName": table,
        "IndexName": INDEX,
        "KeyConditionExpression": "classShard = :shard AND classSort BETWEEN :after AND :upTo",
        "ExpressionAttributeValues": bounds,
        "Limit": limit,
    }
    pages = []
    while True:
        answer = lab.aws("dynamodb").query(**request)
        pages.append([item["classSort"]["S"] for item in answer["Items"]])
        if "LastEvaluatedKey" not in answer:
            return pages
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]


def _no_more_pages(parsed: dict[str, Any], **_: Any) -> None:
    parsed.pop("LastEvaluatedKey", None)


def _iam(lab: Lab) -> Finding:
    table = _table_with_row(lab)
    get_only = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "dynamodb:GetItem", "Resource": "*"}],
    }
    dynamodb = _acting_as(lab, lab.role(get_only))
    allowed, _ = refusal(dynamodb.get_item, TableName=table, Key=KEY)
    denied, _ = refusal(dynamodb.scan, TableName=table)
    seen = f"GetItem, in the policy: {allowed}; Scan, not in it: {denied}"
    return as_aws(seen) if (allowed, denied) == ("accepted", "AccessDeniedException") else differs(seen)


def _acting_as(lab: Lab, role: str) -> Any:
    found = lab.aws("sts").assume_role(RoleArn=role, RoleSessionName="doctor")["Credentials"]
    options = {
        **lab.place.client_options(),
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }
    return boto3.client("dynamodb", config=CONFIG, **options)


def _anything_allowed(params: dict[str, Any], **_: Any) -> None:
    params["PolicyDocument"] = json.dumps(ANYTHING)


def _restart(lab: Lab) -> Finding:
    """Nothing to see at an endpoint; what bootstrap knows of the target, and test_bootstrap.py proves."""
    if "keeps_data" in lab.place.target.capabilities:
        return as_aws("not probed; known of this target: data survive `make down` and `make up`")
    return differs("not probed; known of this target: data are lost with `make down`")


PROBES = (
    Probe(
        "refused-write-shows-row",
        "A conditional write that is refused returns the row as it was, when asked for ALL_OLD.",
        f"{API}/API_UpdateItem.html",
        "TaskStore and every claim: the old row tells a lost acknowledgement of my own write from somebody else's. "
        "Where it is missing, a task looks as if it did not exist.",
        _refused_write,
        {"after-call.dynamodb.UpdateItem": _without_item},
    ),
    Probe(
        "transaction-all-or-nothing",
        "A transaction is carried out whole or not at all, and CancellationReasons say why, in the order of its "
        "writes.",
        f"{API}/API_TransactWriteItems.html",
        "TaskStore.create with a long payload: row and payload are written together. Where it differs, a payload "
        "may lie there without a task.",
        _transaction,
        {"after-call.dynamodb.TransactWriteItems": _reasons_reversed},
    ),
    Probe(
        "transaction-token",
        "A transaction sent again under its client token changes nothing; another one under that token is refused.",
        f"{API}/API_TransactWriteItems.html",
        "TaskStore.create: the SDK's retry after a lost acknowledgement must not write twice.",
        _client_token,
        {"before-parameter-build.dynamodb.TransactWriteItems": _fresh_token},
    ),
    Probe(
        "mixed-type-condition",
        "A comparison across types, or with the size of a missing attribute, is false, not an error.",
        f"{GUIDE}/Expressions.OperatorsAndFunctions.html",
        "transitions.py: conditions on attributes that a row may lack (leaseUntil, handedBack). Where it is an "
        "error, such a write fails instead of being refused; ours guard with attribute_exists.",
        _mixed_types,
        {"after-call.dynamodb.UpdateItem": _as_validation_error},
    ),
    Probe(
        "untidy-expression-refused",
        "An expression with redundant parentheses, or a value that it does not use, is refused.",
        f"{GUIDE}/Expressions.ExpressionAttributeValues.html",
        "TaskStore builds expressions from named terms. A target that takes anything hides a write that AWS refuses.",
        _untidy_expressions,
        {"before-parameter-build.dynamodb.UpdateItem": _tidied},
    ),
    Probe(
        "item-over-400-kb-refused",
        "An item over 400 KB is refused.",
        f"{GUIDE}/Constraints.html",
        "SubmitTask's limit on payloads. A target without it accepts what AWS would not.",
        _item_too_large,
        {"before-parameter-build.dynamodb.PutItem": _shortened},
    ),
    Probe(
        "time-to-live",
        "A table's time to live can be switched on; what has expired is deleted within days, and the rest stays.",
        f"{GUIDE}/TTL.html",
        "Tasks expire 30 days after their end. A row past expiresAt counts as absent anyway; where nothing is "
        "deleted the table only grows.",
        _time_to_live,
        {"after-call.dynamodb.DescribeTimeToLive": _told_disabled},
    ),
    Probe(
        "index-pages",
        "A query of an index sees each write after a while, only rows with its keys, in order, and page by page.",
        f"{GUIDE}/Query.Pagination.html",
        "The sweeper and the listing read by-class in pages. Where it differs, lost messages are not sent again.",
        _index,
        {"after-call.dynamodb.Query": _no_more_pages},
    ),
    Probe(
        "iam-enforced",
        "What a role's policies do not allow is denied.",
        "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html",
        "The roles in app.yaml, one per function. Where nothing is denied, a missing permission shows first on AWS; "
        "tests/integration/test_iam.py runs on targets that do deny.",
        _iam,
        {"before-parameter-build.iam.PutRolePolicy": _anything_allowed},
    ),
    Probe(
        "data-survives-restart",
        "Data stay.",
        f"{GUIDE}/Introduction.html",
        "`make down` and `make up`. Where data are lost, down says so and up deploys anew.",
        _restart,
        {},
    ),
)
