"""Registers task definitions and a policy with moto: what the command line of AWS sends with
`--cli-input-json` is the same, held to the same description of the API.

Arguments: two policies' files, then those of the task definitions.
"""

import json
import os
import sys

os.environ.update(AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")
import boto3  # noqa: E402
from moto import mock_aws  # noqa: E402

with mock_aws():
    iam = boto3.client("iam", region_name="eu-west-1")
    for path in sys.argv[1:3]:
        name = os.path.basename(path).removesuffix(".json")
        iam.create_policy(PolicyName=name, PolicyDocument=open(path).read())
    ecs = boto3.client("ecs", region_name="eu-west-1")
    for path in sys.argv[3:]:
        made = ecs.register_task_definition(**json.load(open(path)))
        print(made["taskDefinition"]["family"])
