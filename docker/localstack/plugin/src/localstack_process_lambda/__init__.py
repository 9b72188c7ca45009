"""LocalStack plugins that replace what needs Docker or a download: the Lambda runtime and DynamoDB.

Nothing is imported here: the supervisor, which is process 1 of the container, has to stay small.
"""
