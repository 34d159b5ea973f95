"""Fills an account of moto's and says what is in it, as JSON.

Arguments: moto's URL, a folder of policies, then one `address key=value` for each instance. There are
also tasks with interfaces of their own, two with each of two tags; their addresses are said. From the end
on moto asks for permission: every later call needs credentials that may do it, and a signature
that botocore makes likewise.
"""

import json
import pathlib
import sys
import urllib.request

import boto3

url, policies = sys.argv[1], pathlib.Path(sys.argv[2])
region = "eu-west-1"


def client(name):
    return boto3.client(
        name,
        endpoint_url=url,
        region_name=region,
        aws_access_key_id="setup",
        aws_secret_access_key="setup",
    )


ec2, iam, sts, ecs = client("ec2"), client("iam"), client("sts"), client("ecs")
vpc = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.99.0.0/16")["Subnet"]["SubnetId"]
instances = {}
for line in sys.argv[3:]:
    address, tag = line.split(" ")
    key, value = tag.split("=")
    made = ec2.run_instances(
        ImageId="ami-12c6146b",
        MinCount=1,
        MaxCount=1,
        SubnetId=subnet,
        PrivateIpAddress=address,
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value}]}
        ],
    )
    instances[address] = made["Instances"][0]["InstanceId"]

# One that ran once: its address must not be given.
gone = [a for a in instances if a.endswith(".99")]
if gone:
    ec2.terminate_instances(InstanceIds=[instances[a] for a in gone])

group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
ecs.create_cluster(clusterName="c")
ecs.register_task_definition(
    family="server",
    networkMode="awsvpc",
    requiresCompatibilities=["FARGATE"],
    cpu="256",
    memory="512",
    containerDefinitions=[{"name": "a", "image": "a", "memory": 128, "cpu": 64}],
)
tasks = {}
for tag in ["server", "other"]:
    ran = ecs.run_task(
        cluster="c",
        taskDefinition="server",
        launchType="FARGATE",
        count=2,
        networkConfiguration={
            "awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [group]}
        },
        tags=[{"key": "lictor", "value": tag}],
    )
    details = [d for t in ran["tasks"] for a in t["attachments"] for d in a["details"]]
    tasks[tag] = [d["value"] for d in details if d["name"] == "privateIPv4Address"]

trust = {"Version": "2012-10-17", "Statement": []}
role = iam.create_role(RoleName="lictor", AssumeRolePolicyDocument=json.dumps(trust))
for name in ["iam-policy", "iam-policy-tasks"]:
    text = (policies / f"{name}.json").read_text()
    iam.put_role_policy(RoleName="lictor", PolicyName=name, PolicyDocument=text)
session = sts.assume_role(RoleArn=role["Role"]["Arn"], RoleSessionName="agent")
iam.create_user(UserName="nobody")
nobody = iam.create_access_key(UserName="nobody")["AccessKey"]

reset = urllib.request.Request(
    url + "/moto-api/reset-auth", data=b"0", headers={"Content-Type": "text/plain"}
)
urllib.request.urlopen(reset).read()
print(
    json.dumps(
        {
            "region": region,
            "tasks": tasks,
            "role": {
                "Code": "Success",
                "AccessKeyId": session["Credentials"]["AccessKeyId"],
                "SecretAccessKey": session["Credentials"]["SecretAccessKey"],
                "Token": session["Credentials"]["SessionToken"],
                "Expiration": "2099-01-01T00:00:00Z",
            },
            "nobody": {
                "id": nobody["AccessKeyId"],
                "secret": nobody["SecretAccessKey"],
            },
        }
    )
)
