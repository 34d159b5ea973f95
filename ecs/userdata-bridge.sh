#!/bin/bash
# shellcheck disable=SC2154  # CloudFormation fills these in
# UserData of an ECS container instance (ECS-optimised Amazon Linux) with a Lictor agent on it that
# is up before any task is placed. Words in braces behind a dollar are filled in by CloudFormation's
# Fn::Sub; cluster.yaml has this file as its UserData, and a test holds both equal.
#
# The agent is on Docker's default bridge and publishes its ports: gossip on the instance's address,
# HTTP and DNS for this host and its containers alone. It tells others the instance's address, which
# is written here; its credentials come from EC2's metadata, which takes a hop limit of 2. userdata.sh
# is the same with host networking, which is simpler and costs no translation of addresses.
set -euo pipefail

# The agent's ports are not for tasks. Setting these replaces the default lists, which are repeated.
cat >>/etc/ecs/ecs.config <<'CFG'
ECS_CLUSTER=${Cluster}
ECS_RESERVED_PORTS=[22,53,2375,2376,8300,8301,8302,8500,8600,51678,51679]
ECS_RESERVED_PORTS_UDP=[53,8301,8302,8600]
ECS_ENABLE_SPOT_INSTANCE_DRAINING=true
ECS_CONTAINER_STOP_TIMEOUT=30s
CFG

# Tasks ask the agent, at the address that the bridge has on this host. Containers that run stay
# when the daemon is restarted.
cat >/etc/docker/daemon.json <<'CFG'
{ "dns": ["172.17.0.1"], "live-restore": true }
CFG

# Secrets come from SSM and are readable by the agent's user alone.
command -v aws >/dev/null || dnf install -y -q awscli-2 || yum install -y -q awscli
region=${AWS::Region}
install -d -m 0755 /opt/lictor
install -d -m 0700 -o 100 -g 1000 /opt/lictor/config /opt/lictor/data
encrypt=$(aws ssm get-parameter --region "$region" --name "${GossipKeyParameter}" \
    --with-decryption --query Parameter.Value --output text)
metadata=http://169.254.169.254/latest
session=$(curl -sf -X PUT -H "X-aws-ec2-metadata-token-ttl-seconds: 60" "$metadata/api/token")
address=$(curl -sf -H "X-aws-ec2-metadata-token: $session" "$metadata/meta-data/local-ipv4")
cat >/opt/lictor/config/agent.json <<CFG
{
  "datacenter": "${Datacenter}",
  "encrypt": "$encrypt",
  "retry_join": ["provider=aws region=$region tag_key=${JoinTagKey} tag_value=${JoinTagValue}"],
  "leave_on_terminate": true,
  "advertise_addr": "$address",
  "client_addr": "0.0.0.0",
  "ports": { "dns": 53 },
  "recursors": ["169.254.169.253"],
  "docker": { "enabled": true, "mode": "explicit", "host_address": "$address" }
}
CFG
chown 100:1000 /opt/lictor/config/agent.json
chmod 0400 /opt/lictor/config/agent.json

# A unit of its own, before the ECS agent, which is started when this one answers: no task is placed
# before. It is started without waiting, because cloud-init may hold the target that it waits for.
# One that has left the cluster, as before the end of a spot instance, ends well and stays down.
cat >/etc/systemd/system/lictor.service <<'UNIT'
[Unit]
Description=Lictor agent
After=docker.service network-online.target
Requires=docker.service
Wants=network-online.target
Before=ecs.service

[Service]
Restart=on-failure
RestartSec=1
TimeoutStartSec=300
TimeoutStopSec=40
ExecStartPre=-/usr/bin/docker rm -f lictor
ExecStart=/usr/bin/docker run --name lictor --stop-timeout 30 --dns 169.254.169.253 \
  -p 8301:8301/tcp -p 8301:8301/udp \
  -p 127.0.0.1:8500:8500 -p 172.17.0.1:8500:8500 \
  -p 172.17.0.1:53:53/tcp -p 172.17.0.1:53:53/udp \
  -v /var/run/docker.sock:/var/run/docker.sock \
  -v /opt/lictor/config:/consul/config \
  -v /opt/lictor/data:/consul/data \
  -e CONSUL_ALLOW_PRIVILEGED_PORTS=yes \
  ${Image} agent
ExecStartPost=/bin/sh -c 'until /usr/bin/docker exec lictor /bin/lictor info >/dev/null 2>&1; do sleep 1; done'
ExecStop=/usr/bin/docker stop -t 30 lictor

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl restart docker --no-block
systemctl enable lictor.service
systemctl start lictor.service --no-block
