"""python -m bootstrap COMMAND: from nothing to a running stack, and back."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from bootstrap import aws, aws_account, console, emulators, operate, settings, state, status
from bootstrap.deploy import Deployment, NotApproved
from bootstrap.errors import BootstrapError
from bootstrap.paths import local_dir
from bootstrap.settings import SETTINGS
from bootstrap.targets import TARGETS


def up(args: argparse.Namespace) -> None:
    """start a local AWS (or take the running one) and deploy"""
    started = time.monotonic()
    values = settings.read(os.environ, args.set)
    emulators.port()
    with state.exclusive():
        choice = emulators.choose(os.environ, args.prefer)
        console.say(f"Target {choice.target.name}: {choice.target.what} ({choice.why}).")
        place = emulators.start(choice)
        _deploy(Deployment(place, values), started)


def deploy_aws(args: argparse.Namespace) -> None:
    """show account, region and plan, ask, deploy to AWS"""
    started = time.monotonic()
    account, deployment = _in_the_account(args)
    again, may_go = deployment.again, _names(args.replace)
    approve = aws_account.approval(args.yes, may_go, again)
    if args.plan:
        planned = aws.plan(deployment, account)
        planned.check(args.plan, again)
        approve = aws_account.as_planned(planned, may_go, again)
    _deploy(replace(deployment, approve=approve), started)


def plan_aws(args: argparse.Namespace) -> None:
    """show what deploy-aws would change; changes nothing"""
    account, deployment = _in_the_account(args)
    aws.end_of_plan(aws.plan(deployment, account), deployment.again, os.environ.get("GITHUB_OUTPUT"))


def drift_aws(args: argparse.Namespace) -> int:
    """compare what is deployed on AWS with what is there"""
    return aws.drift(_in_the_account(args)[1])


def destroy_aws(args: argparse.Namespace) -> None:
    """delete the app stack from AWS; with --data delete the storage stack, too"""
    aws.destroy(_in_the_account(args)[1], args.data == "delete", args.yes, args.confirm)


def _in_the_account(args: argparse.Namespace) -> tuple[str, Deployment]:
    """Who acts, in which account and region, is said first, then with which settings; what is no account is refused."""
    values = settings.read(os.environ, getattr(args, "set", None))
    place = aws_account.place(os.environ)
    aws_account.check_keys()
    account = aws_account.introduce(place)
    aws_account.check_account(account)
    if "set" in args:
        own = " ".join(f"{name}={value}" for name, value in settings.changed(values).items())
        console.say(f"Settings: {own or 'none'}{'; all others have their defaults.' if own else ' but the defaults.'}")
    return account, Deployment(place, values)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _deploy(deployment: Deployment, started: float) -> None:
    with console.step("Packages"):
        console.detail(f"{len(deployment.packages)} built")
    with console.step(f"Storage ({deployment.storage.name})"):
        changed = deployment.deploy_storage()
    with console.step("Upload"):
        packages = deployment.upload_packages()
    with console.step(f"App ({deployment.app.name})"), operate.switches_kept(deployment):
        changed = deployment.deploy_app(packages) or changed
        if mended := deployment.mend_code():
            console.detail(f"{', '.join(mended)} ran other code than that of the last deploy: mended")
            changed = True
    if deployment.to_settle():
        with console.step(f"Storage again, for the new app ({deployment.storage.name})"):
            changed = deployment.settle_storage() or changed
    outputs = deployment.outputs(with_key=False)
    console.say(
        f"{'Ready' if changed else 'Nothing to do: all is as deployed'} after {time.monotonic() - started:.1f} s."
    )
    console.say(f"API URL: {outputs['api_url']}", "bold green")
    _tell_where_the_url_changed(outputs)
    if operate.is_paused(deployment):
        resume = operate.command("resume", deployment)
        console.say(f"The work is {operate.PAUSED}, as before. Type `{resume}` to go on.", "yellow")
    of_account = deployment.typed(".venv/bin/python -m bootstrap outputs --target aws --with-key")
    console.say(f"`{'make outputs' if deployment.place.target.local else of_account}` shows the API key.")


def _tell_where_the_url_changed(outputs: Mapping[str, Any]) -> None:
    note, url = local_dir() / f"api-url-{outputs['target']}-{outputs['stage']}", outputs["api_url"]
    before = note.read_text() if note.exists() else url
    if before != url:
        console.say(f"The API URL changed; it was {before}", "yellow")
    local_dir().mkdir(parents=True, exist_ok=True)
    note.write_text(url)


def storage(args: argparse.Namespace) -> None:
    """step 1 of up: deploy the storage stack"""
    with state.exclusive():
        deployment = _here(args)
        with console.step(f"Storage ({deployment.storage.name})"):
            deployment.deploy_storage()


def package(args: argparse.Namespace) -> None:
    """step 2 of up: build the Lambda packages and upload them"""
    with state.exclusive():
        for name, key in _here(args).upload_packages().items():
            console.say(f"{name} {key}")


def app(args: argparse.Namespace) -> None:
    """step 3 of up: deploy the app stack"""
    with state.exclusive():
        deployment = _here(args)
        with console.step(f"App ({deployment.app.name})"), operate.switches_kept(deployment):
            deployment.deploy_app(deployment.upload_packages())
            deployment.mend_code()
            deployment.settle_storage()


def down(args: argparse.Namespace) -> None:
    """stop the local AWS; keeps the data where the target can"""
    with state.exclusive():
        stopped = emulators.stop()
    console.say("Stopped." if stopped else "Nothing was running.")


def destroy(args: argparse.Namespace) -> None:
    """delete both stacks, data included"""
    with state.exclusive():
        deployment = _here(args)
        console.say(f"Deleting {deployment.app.name} and {deployment.storage.name}, data included.")
        console.say("Deleted." if deployment.destroy() else "There was nothing to delete.")


def outputs(args: argparse.Namespace) -> None:
    """print URLs, names and the API key"""
    deployment = _there(args)
    found = deployment.outputs(with_key=args.with_key or args.key or deployment.place.target.local)
    if args.key:
        print(found["api_key"])
    elif args.url:
        print(found["api_url"])
    elif args.json:
        print(json.dumps(found, indent=2))
    else:
        status.show_outputs(found)


def show_status(args: argparse.Namespace) -> None:
    """what runs, what is deployed, how much waits"""
    status.show(_here(args))


def sweep(args: argparse.Namespace) -> None:
    """heal now what the queue has lost, instead of within a minute"""
    operate.sweep(_introduced(args))


def pause(args: argparse.Namespace) -> None:
    """work on no more tasks; they are accepted and wait"""
    operate.pause(_introduced(args))


def resume(args: argparse.Namespace) -> None:
    """work on tasks again after `pause`"""
    operate.resume(_introduced(args))


def doctor(args: argparse.Namespace) -> int:
    """probe the local AWS: where it differs from AWS, and what that means here"""
    from bootstrap.doctor import examine  # the probes are many, and no other command needs them

    place, probes = emulators.find(), examine.chosen(args.only)

    def report(result: examine.Result) -> None:
        if not args.json:
            console.detail(f"{result.probe.name}: {result.finding.verdict} ({result.seconds:.1f} s)")

    if not args.json:
        console.say(f"Probing {place.target.name} at {place.endpoint_url}: {len(probes)} behaviours.", "bold")
    results = examine.examine(place, probes, report)
    if args.json:
        print(json.dumps([result.as_json() for result in results], indent=2))
    else:
        examine.show(results)
    return 1 if any(result.finding.verdict == "unknown" for result in results) else 0


def preflight(args: argparse.Namespace) -> int:
    """check templates and settings against the rules of AWS, and show each rule; calls nothing"""
    from bootstrap import kinds, package, preflight  # the rules are many, and no other command shows them

    found = kinds.read(package.install_dependencies())
    on_aws = settings.placed(settings.fitted(settings.read(os.environ, args.set), found), TARGETS["aws"])
    return 0 if preflight.show(on_aws, found) else 1


def clean(args: argparse.Namespace) -> None:
    """stop the local AWS and forget everything local"""
    with state.exclusive():
        emulators.stop()
    shutil.rmtree(local_dir(), ignore_errors=True)
    console.say(f"Removed {local_dir().name}/.")


def _here(args: argparse.Namespace) -> Deployment:
    return Deployment(emulators.find(), settings.read(os.environ, getattr(args, "set", None)))


def _there(args: argparse.Namespace) -> Deployment:
    """In the account with `--target aws`, else on the local AWS that runs."""
    if args.target == "aws":
        return Deployment(aws_account.place(os.environ), settings.read(os.environ))
    return _here(args)


def _introduced(args: argparse.Namespace) -> Deployment:
    """The same, and who acts in which account is said first."""
    deployment = _there(args)
    if not deployment.place.target.local:
        aws_account.introduce(deployment.place)
    return deployment


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int | None]] = {
    "up": up,
    "down": down,
    "destroy": destroy,
    "status": show_status,
    "outputs": outputs,
    "storage": storage,
    "package": package,
    "app": app,
    "sweep": sweep,
    "pause": pause,
    "resume": resume,
    "doctor": doctor,
    "preflight": preflight,
    "clean": clean,
    "plan-aws": plan_aws,
    "deploy-aws": deploy_aws,
    "drift-aws": drift_aws,
    "destroy-aws": destroy_aws,
}
ANYWHERE = ("outputs", "sweep", "pause", "resume")
SETTABLE = ("up", "storage", "app", "package", "preflight", "plan-aws", "deploy-aws")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bootstrap", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    names = ", ".join(setting.variable for setting in SETTINGS)
    for name, run in COMMANDS.items():
        command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
        if name in SETTABLE:
            text = f"a setting instead of an environment variable; repeatable. STAGE, {names}"
            command.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help=text)
        if name == "up":
            command.add_argument(
                "--prefer", choices=["embedded"], help="what to start when nothing runs and TARGET is not set"
            )
        if name in ("deploy-aws", "destroy-aws"):
            command.add_argument("--yes", action="store_true", help="do not ask")
        if name == "deploy-aws":
            text = "tables, queues, buckets and keys that may be replaced or removed, by commas"
            command.add_argument("--plan", metavar="DIGEST", default="", help="carry out this plan and no other")
            command.add_argument("--replace", metavar="NAMES", default="", help=text)
        if name == "destroy-aws":
            command.add_argument("--data", choices=["delete"], help="delete the storage stack, too")
            command.add_argument("--confirm", metavar="STAGE", default="", help="the stage, where nobody can be asked")
        if name == "doctor":
            command.add_argument("--json", action="store_true", help="one JSON array")
            command.add_argument("--only", metavar="NAME", help="probes whose name contains this")
        if name in ANYWHERE:
            command.add_argument("--target", choices=sorted(TARGETS), help="aws: the account, not the local stack")
        if name == "outputs":
            command.add_argument("--json", action="store_true", help="one JSON object")
            command.add_argument("--url", action="store_true", help="only the API URL")
            command.add_argument("--key", action="store_true", help="only the API key")
            command.add_argument("--with-key", action="store_true", help="on AWS: the API key, too")
    return parser


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    for name, value in pairs.items():
        if not value:
            raise BootstrapError(f"--set {name}: give NAME=VALUE.")
    return pairs


def main(arguments: list[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    try:
        if hasattr(args, "set"):
            args.set = _pairs(args.set)
        return int(args.run(args) or 0)
    except BootstrapError as error:
        console.fail(error.message, error.hint)
        return 1
    except NotApproved as refused:
        console.say(f"Not approved: {refused} is as it was.")
        return 1
    except (ClientError, BotoCoreError) as error:
        found = aws_account.explained(error)
        console.fail(found.message, found.hint)
        return 1
    except KeyboardInterrupt:
        console.fail(
            "Interrupted. A change that CloudFormation had begun goes on by itself.",
            "Type the same again: it goes on from what is there.",
        )
        return 130


if __name__ == "__main__":
    sys.exit(main())
