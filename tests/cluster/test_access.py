# SPDX-License-Identifier: Apache-2.0
"""Who may speak to the operator as the agent of a node, and who may not."""

import base64
import json
import queue
import secrets
import time
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from eunomia_api import agent_pb2, agent_pb2_grpc

SYSTEM = "eunomia-system"
HELLO = agent_pb2.FromAgent(hello=agent_pb2.Hello(protocol=1, agent_version="0.1.0"))


class Stream:
    """A stream to the leader, as an agent would have it."""

    def __init__(self, cluster, token):
        kubectl = cluster.kubectl
        bundle = kubectl.get("-n", SYSTEM, "configmap", "eunomia-ca")["data"]["ca.crt"]
        address = kubectl.get("-n", SYSTEM, "pod", cluster.leader())["status"]["podIP"]
        self.channel = grpc.secure_channel(
            f"{address}:9443",
            grpc.ssl_channel_credentials(bundle.encode()),
            [("grpc.ssl_target_name_override", f"eunomia-operator.{SYSTEM}.svc")],
        )
        self.sent = queue.SimpleQueue()
        metadata = [("authorization", f"Bearer {token}")] if token else []
        stub = agent_pb2_grpc.AgentsStub(self.channel)
        self.call = stub.Connect(iter(self.sent.get, None), metadata=metadata, timeout=60)
        self.send(HELLO)

    def send(self, message):
        self.sent.put(message)

    def end(self):
        """Read until the operator ends it; give the code and what it said."""
        try:
            for _ in self.call:
                pass
        except grpc.RpcError as error:
            return error.code(), error.details()
        finally:
            self.close()
        return grpc.StatusCode.OK, ""

    def close(self):
        self.sent.put(None)
        self.call.cancel()
        self.channel.close()


@pytest.fixture
def refusal(cluster, kubectl, until):
    """Dial with a token; it must be refused, which must be logged, without the token itself."""

    def dial(token):
        leader = cluster.leader()
        before = len(kubectl("-n", SYSTEM, "logs", leader).splitlines())
        code, said = Stream(cluster, token).end()

        def logged():
            lines = kubectl("-n", SYSTEM, "logs", leader).splitlines()[before:]
            return [line for line in lines if said in json.loads(line)["message"]]

        lines = until(logged, 5, f"{code} ({said}) is logged")
        assert not token or token not in "\n".join(lines)
        return code

    return dial


def token_of(kubectl, account, *more, namespace=SYSTEM, audience="eunomia.dev"):
    create = ("create", "token", account, f"--audience={audience}", *more)
    return kubectl("-n", namespace, *create).strip()


@pytest.fixture(scope="module")
def node(cluster):
    """A node without a machine: what is said in its name disturbs no real agent."""
    kubectl, name = cluster.kubectl, f"imaginary-{secrets.token_hex(4)}"
    kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    cluster.pod(SYSTEM, name, account="eunomia-agent", node=name, ready=False)
    yield name
    kubectl("delete", "node", name)
    there = f"--field-selector=spec.nodeName={name}"
    kubectl("-n", SYSTEM, "delete", "pods", there, "--force", "--grace-period=0")


@pytest.fixture
def agent_token(kubectl, node):
    """A token as a kubelet gives it to the agent's pod."""
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={node}")
    return token_of(kubectl, "eunomia-agent", *bound)


def test_an_agents_token_is_taken_and_names_its_node(cluster, kubectl, node, agent_token):
    stream = Stream(cluster, agent_token)
    welcome = next(stream.call).welcome
    stream.close()
    assert welcome.node == node
    assert welcome.node_uid == kubectl.get("node", node)["metadata"]["uid"]


@pytest.mark.parametrize("token", ["", "no.real.token", "x" * 4000])
def test_without_a_token_that_the_cluster_has_signed(refusal, token):
    assert refusal(token) == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("audience", ["other.dev", "https://kubernetes.default.svc.cluster.local"])
def test_with_a_token_for_another_audience(cluster, kubectl, refusal, audience):
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={cluster.agent()}")
    token = token_of(kubectl, "eunomia-agent", *bound, audience=audience)
    assert refusal(token) == grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("account", ["default", "eunomia-agent"])
def test_with_the_token_of_another_pod(cluster, kubectl, namespace, refusal, account):
    if account != "default":
        kubectl("-n", namespace, "create", "serviceaccount", account)
    cluster.pod(namespace, "stranger", account=account)
    bound = ("--bound-object-kind=Pod", "--bound-object-name=stranger")
    token = token_of(kubectl, account, *bound, namespace=namespace)
    assert refusal(token) == grpc.StatusCode.PERMISSION_DENIED


def test_with_the_agents_account_but_no_pod(kubectl, refusal):
    assert refusal(token_of(kubectl, "eunomia-agent")) == grpc.StatusCode.PERMISSION_DENIED


def test_with_the_token_of_a_pod_that_is_gone(cluster, kubectl, refusal):
    name = f"gone-{secrets.token_hex(4)}"
    cluster.pod(SYSTEM, name, account="eunomia-agent")
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={name}")
    token = token_of(kubectl, "eunomia-agent", *bound)
    kubectl("-n", SYSTEM, "delete", "pod", name)
    assert refusal(token) == grpc.StatusCode.UNAUTHENTICATED


def test_a_report_in_the_name_of_another_node_ends_the_stream(cluster, kubectl, agent_token, until):
    stream = Stream(cluster, agent_token)
    assert next(stream.call).HasField("welcome")

    report = agent_pb2.Report(node="another-node")
    stream.send(agent_pb2.FromAgent(report=report))

    code, said = stream.end()
    assert code == grpc.StatusCode.PERMISSION_DENIED
    assert "another-node" in said
    logged = ("-n", SYSTEM, "logs", cluster.leader())
    until(lambda: "another-node" in kubectl(*logged), 5, "it is logged")


def test_a_stream_ends_with_its_token(cluster, agent_token):
    began = time.monotonic()
    stream = Stream(cluster, shortened(agent_token, seconds=6))
    assert next(stream.call).HasField("welcome")

    code, said = stream.end()

    assert code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED), said
    assert 3 < time.monotonic() - began < 15


def test_a_fresh_token_keeps_the_stream(cluster, agent_token):
    stream = Stream(cluster, shortened(agent_token, seconds=6))
    assert next(stream.call).HasField("welcome")
    stream.send(agent_pb2.FromAgent(token=agent_pb2.Token(token=agent_token)))
    time.sleep(8)
    assert stream.call.is_active()
    stream.close()


def shortened(token, seconds):
    """The same token, signed anew with the cluster's key to end in a few seconds.

    The API server itself signs none for less than ten minutes.
    """
    from dev.cluster import certificates

    pem = Path(certificates.key(certificates.SERVICE_ACCOUNT)).read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    claims["exp"] = int(time.time()) + seconds
    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "ES256"}, claims))
    signature = key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = utils.decode_dss_signature(signature)
    return f"{signed}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def encoded(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
