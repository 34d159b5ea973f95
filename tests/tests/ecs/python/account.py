"""Fills an account of moto's and says what is in it, as JSON.

Arguments: moto's URL, a policy's file, then one `address key=value` for each instance. From the end
on moto asks for permission: every later call needs credentials that may do it, and a signature
that botocore makes likewise.
"""

import json
import sys
import urllib.request

import boto3

url, policy = sys.argv[1], open(sys.argv[2]).read()
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

trust = {"Version": "2012-10-17", "Statement": []}
role = iam.create_role(RoleName="lictor", AssumeRolePolicyDocument=json.dumps(trust))
iam.put_role_policy(RoleName="lictor", PolicyName="lictor", PolicyDocument=policy)
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
