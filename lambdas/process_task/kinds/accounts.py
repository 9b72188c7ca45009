"""Money on accounts: the example of effects, which happen exactly once however often the work runs.

The table is AccountsTable in bootstrap/storage.yaml; listing it below gives ProcessTask the permission to write to it.
"""

from __future__ import annotations

from lambdas.common.effects import Effects, update
from lambdas.common.kinds import JsonObject, Work, kind
from lambdas.common.retry import PermanentError

ACCOUNTS = "accounts"
ACCOUNT = {"type": "string", "minLength": 1, "maxLength": 100}
AMOUNT = {"type": "integer", "minimum": 1, "maximum": 10**15}


def payload(**properties: JsonObject) -> JsonObject:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": list(properties),
    }


class NotEnough(PermanentError):
    """The account does not hold the amount."""


class NoSuchAccount(PermanentError):
    """Nobody ever deposited on this account."""


@kind("deposit", schema=payload(account=ACCOUNT, amount=AMOUNT), tables=(ACCOUNTS,))
def deposit(work: Work) -> Effects:
    account, amount = work.payload["account"], work.payload["amount"]
    return Effects([update(ACCOUNTS, {"account": account}, "ADD balance :amount", values={":amount": amount})])


@kind("transfer", schema=payload(source=ACCOUNT, target=ACCOUNT, amount=AMOUNT), tables=(ACCOUNTS,))
def transfer(work: Work) -> Effects:
    source, target, amount = (work.payload[name] for name in ("source", "target", "amount"))
    if source == target:
        raise PermanentError("source and target are the same account")
    take = update(
        ACCOUNTS,
        {"account": source},
        "SET balance = balance - :amount",
        condition="balance >= :amount",
        values={":amount": amount},
        refused=NotEnough(f"account {source} does not hold {amount}"),
    )
    give = update(
        ACCOUNTS,
        {"account": target},
        "SET balance = balance + :amount",
        condition="attribute_exists(account)",
        values={":amount": amount},
        refused=NoSuchAccount(f"there is no account {target}"),
    )
    return Effects([take, give], result={"moved": amount})
