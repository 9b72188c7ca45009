"""The container's health check: exit 0 when LocalStack answers. In Python, since the image has no curl."""

import http.client
import os
import sys


def main() -> None:
    port = int(os.environ.get("GATEWAY_LISTEN", "0.0.0.0:4566").split(",")[0].rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3)
    try:
        connection.request("GET", "/_localstack/health")
        sys.exit(0 if connection.getresponse().status == http.HTTPStatus.OK else 1)
    except OSError:
        sys.exit(1)


if __name__ == "__main__":
    main()
