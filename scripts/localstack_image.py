#!/usr/bin/env python3
"""Build our own LocalStack image, with nothing but a Docker engine and a package index: `make localstack-image`.

    scripts/localstack_image.py [--tag NAME] [--force]

The image is built again only when its sources changed. Its base is python:3.13-slim; where no registry can be reached,
one is made from Debian's packages by mmdebstrap. Prints the tag, and what it does on standard error.
"""

import argparse
import hashlib
import os
import platform
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTEXT = Path(__file__).resolve().parent.parent / "docker" / "localstack"
DEFAULT_TAG = "task-processing/localstack:4.14.0"
OFFICIAL_BASE = "python:3.13-slim"
DEBIAN_BASE = "task-processing/python:3.13-debian"  # ours; it does not take the official image's name
DEBIAN_SUITE = "trixie"  # the release whose python3 is 3.13
DEBIAN_PACKAGES = "ca-certificates,python3,python3-venv"
SOURCE_LABEL = "task-processing.source"
STALL_SECONDS = 20.0
CA_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
SYSTEM_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
NOT_SOURCES = {"trust", "tests", "tests.lock", "tests.in", "__pycache__", ".mypy_cache", ".pytest_cache", "build"}


class ImageError(Exception):
    """What happened, why, and what to do next: shown to the person as it is."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--tag", default=DEFAULT_TAG)
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    parser.add_argument("--test", action="store_true", help="then build its tests and run them, without a network")
    options = parser.parse_args()
    try:
        require_docker()
        build_if_changed(options.tag, options.force)
        if options.test:
            run_tests(options.tag)
    except ImageError as error:
        sys.exit(f"localstack-image: {error}")
    print(options.tag)


def build_if_changed(tag: str, force: bool) -> None:
    source = fingerprint(CONTEXT)
    if not force and label_of(tag) == source:
        say(f"{tag} is there and its sources have not changed.")
        return
    base = find_base()
    say(f"building {tag} on {base}; the first time takes a few minutes.")
    with build_context() as context:
        build(tag, "runtime", base, source, context)


def run_tests(tag: str) -> None:
    tests = f"{tag}-tests"
    with build_context() as context:
        build(tests, "tests", find_base(), fingerprint(CONTEXT), context)
    if subprocess.run(["docker", "run", "--rm", "--network", "none", tests], stdout=sys.stderr, check=False).returncode:
        raise ImageError("the tests of the plugin failed; see above.")


# --- Docker


def require_docker() -> None:
    if not shutil.which("docker"):
        raise ImageError(f"docker is not installed. Install Docker, or on Debian or Ubuntu as root: {engine_command()}")
    answer = run("docker", "info", "--format", "{{.ServerVersion}}")
    if answer.returncode == 0:
        return
    if "permission denied" in answer.stderr.lower():
        raise ImageError(
            "no permission to use Docker. Run: sudo usermod -aG docker $USER, log in again, and try again."
        )
    raise ImageError(
        f"Docker is not running. Start Docker Desktop or the docker service, or as root: {engine_command()}"
    )


def engine_command() -> str:
    return "scripts/docker_engine.sh start"


def label_of(image: str) -> str | None:
    """The sources an image was built from; None when there is no such image."""
    template = f'{{{{index .Config.Labels "{SOURCE_LABEL}"}}}}'
    answer = run("docker", "image", "inspect", "--format", template, image)
    return answer.stdout.strip() if answer.returncode == 0 else None


def is_local(image: str) -> bool:
    return run("docker", "image", "inspect", image).returncode == 0


def build(tag: str, stage: str, base: str, source: str, context: Path) -> None:
    command = ["docker", "build", "--tag", tag, "--target", stage]
    command += ["--build-arg", f"BASE={base}", "--label", f"{SOURCE_LABEL}={source}"]
    if index := os.environ.get("PIP_INDEX_URL"):
        command += ["--build-arg", f"PIP_INDEX_URL={index}"]
    # To standard error, so that standard output is the tag alone.
    if subprocess.run([*command, str(context)], stdout=sys.stderr, check=False).returncode:
        raise ImageError("docker build failed; its last lines are above. A package index must be reachable.")


# --- the base image


def find_base() -> str:
    for image in (OFFICIAL_BASE, DEBIAN_BASE):
        if is_local(image):
            return image
    if pull(OFFICIAL_BASE):
        return OFFICIAL_BASE
    say(f"{OFFICIAL_BASE} cannot be pulled, so the base is made from Debian's packages (about half a minute).")
    make_debian_base()
    return DEBIAN_BASE


def pull(image: str) -> bool:
    """Pull until it is done, refused, or nothing moves for a while. A terminal, since without one docker is silent."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(["docker", "pull", image], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        while moves(ours):
            pass
        if process.poll() is None:
            process.terminate()
        return process.wait() == 0
    finally:
        os.close(ours)


def moves(terminal: int) -> bool:
    readable, _, _ = select.select([terminal], [], [], STALL_SECONDS)
    try:
        return bool(readable and os.read(terminal, 65536))
    except OSError:  # Linux says EIO when the other end is closed
        # The process ends right after closing its terminal; give it the moment that takes.
        time.sleep(0.2)
        return False


def make_debian_base() -> None:
    require_mmdebstrap()
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={DEBIAN_PACKAGES}", DEBIAN_SUITE]
        check(run(*command, str(archive), debian_mirror()), "mmdebstrap could not make the base image")
        check(run("docker", "import", "--change", 'CMD ["python3"]', str(archive), DEBIAN_BASE), "docker import failed")


def require_mmdebstrap() -> None:
    if platform.system() != "Linux" or not shutil.which("apt-get"):
        raise ImageError(f"{OFFICIAL_BASE} cannot be pulled, and a base can be made on Debian only.")
    if not shutil.which("mmdebstrap"):
        raise ImageError(
            f"{OFFICIAL_BASE} cannot be pulled, and mmdebstrap, which would make a base, is not installed. "
            "Run as root: apt-get install mmdebstrap"
        )


def debian_mirror() -> str:
    """Where this machine gets Debian's packages from."""
    listing = run("apt-get", "indextargets", "--format", "$(LABEL)|$(REPO_URI)", "Created-By: Packages")
    mirrors = [
        uri for label, _, uri in (line.partition("|") for line in listing.stdout.splitlines()) if label == "Debian"
    ]
    if not mirrors:
        raise ImageError("this machine has no Debian archive in its apt sources. Run as root: apt-get update")
    return mirrors[0]


# --- what is sent to the engine


@contextmanager
def build_context() -> Iterator[Path]:
    """A copy of the sources with this machine's certificates, which the stage that runs pip alone gets to see."""
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context"
        shutil.copytree(CONTEXT, context)
        if bundle := ca_bundle():
            shutil.copyfile(bundle, context / "trust" / "ca-certificates.crt")
        yield context


def ca_bundle() -> Path | None:
    named = [Path(os.environ[name]) for name in CA_VARIABLES if os.environ.get(name)]
    return next((path for path in [*named, SYSTEM_CA_BUNDLE] if path.is_file()), None)


def fingerprint(context: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(context.rglob("*")):
        relative = path.relative_to(context)
        if path.is_file() and not NOT_SOURCES.intersection(relative.parts) and ".egg-info" not in str(relative):
            digest.update(f"{relative}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


# --- small


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check(answer: subprocess.CompletedProcess[str], what: str) -> None:
    if answer.returncode:
        raise ImageError(f"{what}:\n{answer.stderr.strip()[-2000:]}")


def say(sentence: str) -> None:
    print(f"localstack-image: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
