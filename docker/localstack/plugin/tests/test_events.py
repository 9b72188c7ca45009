"""What starts a function other than a caller: queues, schedules and the REST API."""

import json
import time
import urllib.error
import urllib.request
from itertools import pairwise
from typing import Any

from conftest import Aws, Queue, unique, wait_until, zipped


def mapped(aws: Aws, function: str, queue: Queue, **settings: Any) -> str:
    """Map the queue to the function and wait until the mapping polls; returns its id."""
    client = aws.client("lambda")
    mapping = client.create_event_source_mapping(
        FunctionName=function,
        EventSourceArn=queue.arn,
        **({"BatchSize": 10, "FunctionResponseTypes": ["ReportBatchItemFailures"]} | settings),
    )["UUID"]
    wait_until(lambda: client.get_event_source_mapping(UUID=mapping)["State"] == "Enabled", 20, "the mapping")
    return str(mapping)


def dead_letter_pair(aws: Aws, max_receive_count: int, visibility: int = 30) -> tuple[Queue, Queue]:
    dlq = aws.queue()
    policy = json.dumps({"deadLetterTargetArn": dlq.arn, "maxReceiveCount": max_receive_count})
    return aws.queue(VisibilityTimeout=str(visibility), RedrivePolicy=policy), dlq


FAILS_WHAT_IT_IS_TOLD = """
    import boto3, json, os
    sqs = boto3.client("sqs")
    def handler(event, context):
        failures = []
        for record in event["Records"]:
            count = record["attributes"]["ApproximateReceiveCount"]
            print("received", record["body"], count)
            if record["body"].startswith("bad"):
                failures.append({"itemIdentifier": record["messageId"]})
                if "VISIBILITY" in os.environ:
                    sqs.change_message_visibility(
                        QueueUrl=os.environ["QUEUE_URL"],
                        ReceiptHandle=record["receiptHandle"],
                        VisibilityTimeout=int(os.environ["VISIBILITY"]),
                    )
        return {"batchItemFailures": failures}
"""


def test_only_the_reported_messages_of_a_batch_come_back_and_end_in_the_dead_letter_queue(aws: Aws) -> None:
    queue, dlq = dead_letter_pair(aws, max_receive_count=2, visibility=1)
    function = aws.function(FAILS_WHAT_IT_IS_TOLD, Timeout=1)
    queue.send("good 1", "bad 1", "good 2")
    mapped(aws, function, queue)
    [dead] = wait_until(dlq.receive, 30, "the dead letter")
    assert dead["Body"] == "bad 1"
    assert dead["Attributes"]["DeadLetterQueueSourceArn"] == queue.arn
    received = wait_until(
        lambda: (
            found
            if len(found := [line for line in aws.messages_of(function) if line.startswith("received")]) == 4
            else None
        ),
        10,
        "the log",
    )
    assert sorted(received) == ["received bad 1 1", "received bad 1 2", "received good 1 1", "received good 2 1"]
    assert queue.attribute("ApproximateNumberOfMessagesNotVisible") == "0"


def test_a_visibility_set_by_the_handler_decides_when_the_message_comes_back(aws: Aws) -> None:
    queue, dlq = dead_letter_pair(aws, max_receive_count=2, visibility=120)
    environment = {"Variables": {"QUEUE_URL": queue.url, "VISIBILITY": "3"}}
    function = aws.function(FAILS_WHAT_IT_IS_TOLD, Environment=environment)
    mapped(aws, function, queue)
    started = time.monotonic()
    queue.send("bad")
    wait_until(dlq.receive, 60, "the dead letter")
    assert 5.5 < time.monotonic() - started < 20  # two receives, three seconds each; 240 s by the queue's own


def test_an_exception_fails_the_whole_batch(aws: Aws) -> None:
    queue, dlq = dead_letter_pair(aws, max_receive_count=1, visibility=1)
    queue.send("one", "two")
    mapped(aws, aws.function("def handler(event, context): raise RuntimeError", Timeout=1), queue)
    bodies: list[str] = []

    def both() -> bool:
        bodies.extend(message["Body"] for message in dlq.receive())
        return sorted(bodies) == ["one", "two"]

    wait_until(both, 30, "both dead letters")


def test_a_message_is_moved_back_from_the_dead_letter_queue(aws: Aws) -> None:
    queue, dlq = dead_letter_pair(aws, max_receive_count=1, visibility=0)
    queue.send("again")
    wait_until(lambda: queue.receive() or dlq.attribute("ApproximateNumberOfMessages") == "1", 10, "the receive")
    wait_until(lambda: not queue.receive() and dlq.attribute("ApproximateNumberOfMessages") == "1", 10, "the move")
    dlq.client.start_message_move_task(SourceArn=dlq.arn)
    [message] = wait_until(queue.receive, 20, "the message to be moved back")
    assert message["Body"] == "again"
    tasks = dlq.client.list_message_move_tasks(SourceArn=dlq.arn)["Results"]
    assert [task["Status"] for task in tasks] == ["COMPLETED"]


def test_a_schedule_of_one_minute_invokes_the_function(aws: Aws) -> None:
    function = aws.function("def handler(event, context): print('ticked by', event['source'])")
    events, rule = aws.client("events"), unique("rule")
    rule_arn = events.put_rule(Name=rule, ScheduleExpression="rate(1 minute)")["RuleArn"]
    aws.client("lambda").add_permission(
        FunctionName=function,
        StatementId="schedule",
        Action="lambda:InvokeFunction",
        Principal="events.amazonaws.com",
        SourceArn=rule_arn,
    )
    arn = aws.client("lambda").get_function(FunctionName=function)["Configuration"]["FunctionArn"]
    events.put_targets(Rule=rule, Targets=[{"Id": "function", "Arn": arn}])
    wait_until(lambda: "ticked by aws.events" in aws.messages_of(function), 130, "the schedule to fire")
    events.remove_targets(Rule=rule, Ids=["function"])
    events.delete_rule(Name=rule)


TEMPLATE = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Bucket: {Type: String}
Resources:
  Api:
    Type: AWS::Serverless::Api
    Properties:
      StageName: v1
      DefinitionBody:
        openapi: 3.0.1
        info: {title: probe, version: "1"}
        paths:
          /tasks:
            post:
              security: [{api_key: []}]
              responses: {"200": {description: ok}}
              x-amazon-apigateway-integration:
                type: aws_proxy
                httpMethod: POST
                uri: !Sub arn:aws:apigateway:${AWS::Region}:lambda:path/2015-03-31/functions/${Submit.Arn}/invocations
          /page:
            get:
              responses: {"200": {description: ok, content: {text/html: {}}}}
              x-amazon-apigateway-integration:
                type: mock
                requestTemplates: {"application/json": '{"statusCode": 200}'}
                responses:
                  default:
                    statusCode: "200"
                    responseParameters: {method.response.header.Content-Type: "'text/html'"}
                    responseTemplates: {"application/json": "<p>from the mock</p>"}
          /{proxy+}:
            x-amazon-apigateway-any-method:
              responses: {"404": {description: no such route}}
              x-amazon-apigateway-integration:
                type: mock
                requestTemplates: {"application/json": '{"statusCode": 404}'}
                responses:
                  default:
                    statusCode: "404"
                    responseTemplates: {"application/json": '{"error": {"code": "NotFound"}}'}
        components:
          securitySchemes:
            api_key: {type: apiKey, name: x-api-key, in: header}
  Key:
    Type: AWS::ApiGateway::ApiKey
    Properties: {Enabled: true}
  Plan:
    Type: AWS::ApiGateway::UsagePlan
    DependsOn: Apiv1Stage
    Properties: {ApiStages: [{ApiId: !Ref Api, Stage: v1}], Throttle: {BurstLimit: 100, RateLimit: 50}}
  PlanKey:
    Type: AWS::ApiGateway::UsagePlanKey
    Properties: {KeyId: !Ref Key, KeyType: API_KEY, UsagePlanId: !Ref Plan}
  Submit:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.13
      Handler: index.handler
      CodeUri: {Bucket: !Ref Bucket, Key: code.zip}
      Timeout: 5
      Environment: {Variables: {TABLE: !Ref Table, QUEUE_URL: !Ref Queue}}
      Policies:
        - Statement: [{Effect: Allow, Action: ["dynamodb:PutItem"], Resource: !GetAtt Table.Arn}]
      Events:
        Tick: {Type: Schedule, Properties: {Schedule: rate(1 minute)}}
  Work:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.13
      Handler: index.work
      CodeUri: {Bucket: !Ref Bucket, Key: code.zip}
      Timeout: 5
      Environment: {Variables: {TABLE: !Ref Table}}
      Policies: [AWSLambdaBasicExecutionRole]
      Events:
        Messages:
          Type: SQS
          Properties:
            Queue: !GetAtt Queue.Arn
            BatchSize: 10
            FunctionResponseTypes: [ReportBatchItemFailures]
            ScalingConfig: {MaximumConcurrency: 5}
  Permission:
    Type: AWS::Lambda::Permission
    Properties: {FunctionName: !Ref Submit, Action: "lambda:InvokeFunction", Principal: apigateway.amazonaws.com}
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 30
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dlq.Arn, maxReceiveCount: 5}
  Dlq: {Type: AWS::SQS::Queue}
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: PK, AttributeType: S}]
      KeySchema: [{AttributeName: PK, KeyType: HASH}]
      TimeToLiveSpecification: {AttributeName: expiresAt, Enabled: true}
      PointInTimeRecoverySpecification: {PointInTimeRecoveryEnabled: true}
      SSESpecification: {SSEEnabled: true}
  Alarm:
    Type: AWS::CloudWatch::Alarm
    Properties:
      Namespace: AWS/SQS
      MetricName: ApproximateNumberOfMessagesVisible
      Statistic: Maximum
      Period: 60
      EvaluationPeriods: 1
      Threshold: 1
      ComparisonOperator: GreaterThanOrEqualToThreshold
  Board:
    Type: AWS::CloudWatch::Dashboard
    Properties: {DashboardBody: "{}"}
Outputs:
  ApiId: {Value: !Ref Api}
  KeyId: {Value: !Ref Key}
  Table: {Value: !Ref Table}
  RoleArn: {Value: !GetAtt SubmitRole.Arn}
"""

PIPELINE = """
    import boto3, json, os
    dynamodb, sqs = boto3.client("dynamodb"), boto3.client("sqs")
    def handler(event, context):
        task = {name.lower(): value for name, value in event.get("headers", {}).items()}.get("x-task")
        if not task:
            return {"statusCode": 200, "body": "tick"}
        dynamodb.put_item(TableName=os.environ["TABLE"], Item={"PK": {"S": task}})
        sqs.send_message(QueueUrl=os.environ["QUEUE_URL"], MessageBody=json.dumps({"taskId": task}))
        return {"statusCode": 202, "body": json.dumps({"taskId": task})}
    def work(event, context):
        for record in event["Records"]:
            dynamodb.update_item(
                TableName=os.environ["TABLE"],
                Key={"PK": {"S": json.loads(record["body"])["taskId"]}},
                UpdateExpression="SET done = :yes",
                ConditionExpression="attribute_exists(PK)",
                ExpressionAttributeValues={":yes": {"BOOL": True}},
            )
        return {"batchItemFailures": []}
"""


def deployed(aws: Aws, template: str, code: bytes) -> tuple[str, dict[str, str]]:
    """Create a stack by change set; returns its name and outputs."""
    bucket, stack, cloudformation = unique("bucket"), unique("stack"), aws.client("cloudformation")
    aws.client("s3").create_bucket(Bucket=bucket)
    aws.client("s3").put_object(Bucket=bucket, Key="code.zip", Body=code)
    cloudformation.create_change_set(
        StackName=stack,
        ChangeSetName="first",
        ChangeSetType="CREATE",
        TemplateBody=template,
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        Parameters=[{"ParameterKey": "Bucket", "ParameterValue": bucket}],
    )
    change_set = {"StackName": stack, "ChangeSetName": "first"}
    cloudformation.get_waiter("change_set_create_complete").wait(**change_set, WaiterConfig={"Delay": 1})
    cloudformation.execute_change_set(**change_set)
    cloudformation.get_waiter("stack_create_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
    [description] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    return stack, {output["OutputKey"]: output["OutputValue"] for output in description["Outputs"]}


def request(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=headers), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_serverless_stack_is_deployed_by_change_set_and_carries_a_task_from_api_to_table(aws: Aws) -> None:
    stack, outputs = deployed(aws, TEMPLATE, zipped(PIPELINE))
    api = f"{aws.endpoint}/_aws/execute-api/{outputs['ApiId']}/v1"
    key = aws.client("apigateway").get_api_key(apiKey=outputs["KeyId"], includeValue=True)["value"]

    assert request(f"{api}/tasks", "POST")[0] == 403
    assert request(f"{api}/tasks", "POST", **{"x-api-key": "wrong-key-wrong-key-1"})[0] == 403
    task = unique("task")
    status, body = request(f"{api}/tasks", "POST", **{"x-api-key": key, "x-task": task})
    assert (status, json.loads(body)) == (202, {"taskId": task})

    def row() -> dict[str, Any] | None:
        item = aws.client("dynamodb").get_item(TableName=outputs["Table"], Key={"PK": {"S": task}}).get("Item", {})
        return item if "done" in item else None

    wait_until(row, 20, "the task to be done")
    assert aws.client("iam").get_role(RoleName=outputs["RoleArn"].rpartition("/")[2])

    assert request(f"{api}/page") == (200, "<p>from the mock</p>")
    assert request(f"{api}/nowhere") == (404, '{"error": {"code": "NotFound"}}')

    cloudformation = aws.client("cloudformation")
    cloudformation.delete_stack(StackName=stack)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
    assert outputs["Table"] not in aws.client("dynamodb").list_tables()["TableNames"]


def test_an_api_keeps_the_id_that_its_tag_names_when_its_stack_is_made_again(aws: Aws) -> None:
    cloudformation, api_id = aws.client("cloudformation"), unique("api").replace("-", "")
    template = {
        "Parameters": {"Bucket": {"Type": "String"}},
        "Resources": {
            "Api": {
                "Type": "AWS::ApiGateway::RestApi",
                "Properties": {"Name": api_id, "Tags": [{"Key": "_custom_id_", "Value": api_id}]},
            }
        },
        "Outputs": {"ApiId": {"Value": {"Ref": "Api"}}},
    }
    for _ in range(2):
        stack, outputs = deployed(aws, json.dumps(template), b"")
        assert outputs["ApiId"] == api_id
        cloudformation.delete_stack(StackName=stack)
        cloudformation.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})


def test_the_mapping_runs_one_batch_at_a_time(aws: Aws) -> None:
    """An emulator's limit, held here so that we notice when it goes: AWS runs up to MaximumConcurrency at once."""
    queue = aws.queue(VisibilityTimeout="60")
    function = aws.function("""
        import time
        def handler(event, context):
            print("batch", time.time(), end=" ")
            time.sleep(1)
            print(time.time())
    """)
    queue.send(*map(str, range(4)))
    mapped(aws, function, queue, BatchSize=1, ScalingConfig={"MaximumConcurrency": 4})

    def batches() -> list[list[float]] | None:
        lines = [line.split()[1:] for line in aws.messages_of(function) if line.startswith("batch")]
        return sorted([float(start), float(end)] for start, end in lines) if len(lines) == 4 else None

    spans = wait_until(batches, 30, "four batches")
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
