# SPDX-License-Identifier: Apache-2.0
"""Each built-in rule is broken in a pod, by doing what it is about, and an alert tells of it.

What a shell cannot do, `deed` does (deeds.c). Nothing changes the machine: files of the kernel are
opened for writing and not written, and what would change it is asked for in a form that the kernel
refuses.
"""

import base64
import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dev.cluster import layout
from eunomia_api.library import built_in

SOURCE = Path(__file__).with_name("deeds.c")
RULES = built_in().rules
ATTACKER = {"name": "attacker", "command": ["/bin/sleep", "3600"]}
VICTIM = {"name": "victim", "command": ["/bin/generator", "sleep", "3600"]}
PRELUDE = """
cd /tmp; PATH=$PATH:/tmp
victim=$(pidof generator | cut -d " " -f 1)
node=$(pidof kubelet | cut -d " " -f 1)
"""
"""victim: a process of another container. node: one of the node. The pod sees all (hostPID)."""

DEEDS = {
    # ---- out of the container ----
    "container-escape/release-agent-written": """
        mkdir -p cg; mount -t cgroup -o none,name=deed cgroup cg; : >>cg/release_agent
        umount cg""",
    "container-escape/core-pattern-written": ": >>/proc/sys/kernel/core_pattern",
    # A kernel that has none is shown a file of that name.
    "container-escape/kernel-helper-written": """
        [ -e /proc/sys/kernel/modprobe ] || { mkdir -p kernel; : >kernel/modprobe; }
        : >>/proc/sys/kernel/modprobe""",
    "container-escape/disk-opened": "dd if=/dev/loop7 of=/dev/null count=0",
    "container-escape/device-node-made": "mknod disk b 7 7; rm disk",
    "container-escape/disk-mounted": """
        dd if=/dev/zero of=disk.img bs=1M count=4; mke2fs -F disk.img; mkdir -p disk.d
        losetup /dev/loop7 disk.img; mount -t ext4 /dev/loop7 disk.d; umount disk.d
        losetup -d /dev/loop7""",
    "container-escape/cgroup-mounted": """
        mkdir -p cg2; mount -t cgroup2 cgroup2 cg2; umount cg2""",
    "container-escape/kernel-files-mounted": """
        mkdir -p p; mount -t proc proc p; umount p""",
    "container-escape/sensitive-file-bound": """
        mkdir -p e; mount -o bind /etc e; umount e""",
    "container-escape/sensitive-folder-moved": """
        mkdir -p m/etc; mv m/etc m/x""",
    "container-escape/file-outside-root-opened": "cat /proc/$victim/root/bin/generator >/dev/null",
    "container-escape/started-outside-root": "cd /proc/$victim/root && /bin/true",
    "container-escape/host-program-started": "nsenter -t $node -m -- /bin/true",
    "container-escape/host-namespace-entered": "nsenter -t $node -m -- /bin/true",
    "container-escape/other-container-manipulated": "deed read-memory $victim",
    "container-escape/process-memory-opened": ": >>/proc/$$/mem",
    "container-escape/other-process-read": "cat /proc/$victim/environ >/dev/null",
    "container-escape/node-file-written": ": >>/node/etc/hostname",
    "container-escape/node-data-opened": """
        cd /node/var/lib; mkdir -p kubelet/pki; : >kubelet/pki/deed; rm kubelet/pki/deed
        rmdir -p kubelet/pki""",
    # As above.
    "container-escape/kernel-memory-opened": """
        [ -e /proc/kcore ] || { mkdir -p proc; : >proc/kcore; cat proc/kcore; }
        head -c 1 /proc/kcore >/dev/null""",
    "container-escape/kernel-module-loaded": "deed module",
    "container-escape/file-opened-by-handle": "deed by-handle",
    "container-escape/user-namespace-made": "deed user-namespace",
    "container-escape/root-changed": "chroot / /bin/true",
    "container-escape/runtime-socket-used": "deed reach /run/engine/containerd.sock",
    "container-escape/runtime-binary-written": "mkdir -p bin; : >bin/runc",
    "container-escape/static-pod-written": """
        mkdir -p /host/etc/kubernetes/manifests; : >/host/etc/kubernetes/manifests/deed.yaml""",
    # ---- programs ----
    "execution/memory-executed": "deed run-from-memory /bin/busybox",
    "execution/deleted-executed": """
        cp /bin/busybox gone; exec 9<gone; rm gone; /proc/self/fd/9""",
    # As where a runtime mounts it without noexec.
    "execution/shared-memory-executed": """
        mount -o remount,exec /dev/shm; cp /bin/busybox /dev/shm/deed; /dev/shm/deed true""",
    "execution/shared-memory-script-run": """
        mount -o remount,exec /dev/shm; echo '#!/bin/sh' >/dev/shm/deed.sh
        chmod +x /dev/shm/deed.sh; /dev/shm/deed.sh""",
    "execution/long-path-executed": """
        n=$(printf '%0200d' 0); mkdir -p $n/$n; cp /bin/busybox $n/$n/true; /tmp/$n/$n/true""",
    "execution/written-then-executed": "cp /bin/busybox fresh; /tmp/fresh true",
    "execution/temporary-file-executed": "cp /bin/busybox /var/tmp/deed; /var/tmp/deed true",
    "execution/hidden-file-executed": "cp /bin/busybox .deed; /tmp/.deed true",
    "execution/library-preloaded": "LD_PRELOAD=/tmp/deed.so /bin/true",
    "execution/setuid-program-run": """
        cp /bin/busybox gain; chmod 4755 gain; deed run-as 1000 /tmp/gain true""",
    "execution/package-manager-run": "/bin/dpkg --help",
    "execution/compiler-run": "cp /bin/busybox gcc; /tmp/gcc",
    "execution/miner-run": "cp /bin/busybox xmrig; /tmp/xmrig",
    "execution/network-tool-run": "/bin/nc --help",
    "execution/container-tool-run": "cp /bin/busybox kubectl; /tmp/kubectl",
    "execution/namespace-tool-run": "/bin/unshare --help",
    "execution/account-tool-run": "/bin/passwd --help",
    "execution/repeated-crashes": "deed crash 5",
    # ---- shells ----
    "shells/reverse-shell": "deed reverse 127.0.0.1 7001",
    "shells/shell-of-web-server": "cp deed nginx; nginx shell",
    "shells/shell-of-java": "cp deed java; java shell",
    "shells/shell-of-database": "cp deed mysqld; mysqld shell",
    "shells/shell-on-terminal": "deed terminal",
    "shells/piped-shell": "echo : | /bin/sh >/dev/null",
    # ---- the network: addresses of the pod's own loopback ----
    "network/cloud-metadata-contacted": """
        ip address add 169.254.169.254/32 dev lo; deed connect 169.254.169.254 80
        ip address del 169.254.169.254/32 dev lo""",
    "network/kubernetes-api-contacted": "deed connect $KUBERNETES_SERVICE_HOST 443",
    "network/kubelet-contacted": "deed connect 192.0.2.1 10250",
    "network/engine-port-contacted": "deed connect 192.0.2.1 2375",
    "network/cluster-store-contacted": "deed connect 192.0.2.1 2379",
    "network/port-scan": "deed scan 192.0.2.1 8000 20",
    "network/address-sweep": "deed sweep 20 81",
    "network/password-guessing": "for n in $(seq 30); do deed connect 192.0.2.1 22; done",
    "network/mining-pool-contacted": "deed meet 192.0.2.1 14444",
    "network/anonymity-network-contacted": "deed meet 192.0.2.1 9050",
    "network/remote-login-made": "deed meet 192.0.2.1 2222",
    "network/mail-sent": "deed connect 192.0.2.1 25",
    "network/login-server-opened": "deed meet 192.0.2.1 2222",
    "network/backdoor-port-opened": "deed meet 192.0.2.1 4444",
    "network/unusual-port-opened": "deed meet 192.0.2.1 48111",
    # ---- coming back ----
    "persistence/preload-file-written": ": >preload; mv preload /etc/ld.so.preload",
    "persistence/authorized-keys-written": "mkdir -p /root/.ssh; : >/root/.ssh/authorized_keys",
    "persistence/sudoers-written": "mkdir -p /etc/sudoers.d; : >/etc/sudoers.d/deed",
    "persistence/user-database-written": ": >>/etc/passwd",
    "persistence/timed-job-written": "mkdir -p /etc/cron.d; : >/etc/cron.d/deed",
    "persistence/service-written": "mkdir -p /etc/init.d; : >/etc/init.d/deed",
    "persistence/shell-profile-written": "mkdir -p /root; : >/root/.profile",
    "persistence/system-program-written": "cp /bin/busybox /bin/deed-of-mine",
    "persistence/setuid-bit-set": ": >bits; chmod 4755 bits",
    # ---- files ----
    "sensitive-files/password-hashes-read": """
        : >>/etc/shadow; ln -s /etc/shadow innocent; cat innocent""",
    "sensitive-files/sensitive-file-linked": "ln -s /etc/shadow link",
    "sensitive-files/ssh-key-read": "mkdir -p k; : >k/id_rsa; cat k/id_rsa",
    "sensitive-files/cloud-credentials-read": """
        mkdir -p .aws; : >.aws/credentials; cat .aws/credentials""",
    "sensitive-files/stored-password-read": "mkdir -p .kube; : >.kube/config; cat .kube/config",
    "sensitive-files/cluster-key-read": "mkdir -p pki; : >pki/ca.key; cat pki/ca.key",
    "sensitive-files/account-token-read": """
        deed read /var/run/secrets/kubernetes.io/serviceaccount/token""",
    "sensitive-files/account-token-taken": """
        cat /var/run/secrets/kubernetes.io/serviceaccount/token >/dev/null""",
    "sensitive-files/credential-hunt": """
        for n in .netrc .pgpass .npmrc .git-credentials; do : >$n; cat $n; done""",
    "sensitive-files/environment-read": "cat /proc/$$/environ >/dev/null",
    "sensitive-files/kernel-addresses-read": "head -n 1 /proc/kallsyms",
    # ---- system calls ----
    "system-calls/code-injected": "deed trace; deed write-memory",
    "system-calls/process-traced": "deed trace",
    "system-calls/bpf-used": "deed bpf",
    "system-calls/io-uring-used": "deed io-uring",
    "system-calls/page-faults-taken": "deed page-faults",
    "system-calls/performance-events-used": "deed performance",
    "system-calls/kernel-replaced": "deed reboot",
    "system-calls/module-removed": "deed remove-module",
    "system-calls/ports-of-hardware-used": "deed ports",
    "system-calls/clock-set": "deed clock",
    "system-calls/kernel-log-read": "dmesg >/dev/null",
    "system-calls/accounting-changed": "deed accounting",
    "system-calls/keyring-used": "deed keys",
    "system-calls/addresses-fixed": "deed addresses",
    "system-calls/memory-file-made": "deed memory-file",
    "system-calls/became-root": "deed become-root",
    "system-calls/detached-mount-made": "deed detached-mount",
    # ---- wiping, breaking ----
    "tampering/log-cleared": "mkdir -p /var/log; echo a >/var/log/a; : >/var/log/a",
    "tampering/logs-cleared-in-bulk": """
        mkdir -p /var/log; for n in 1 2 3 4 5; do : >/var/log/l$n; rm /var/log/l$n; done""",
    "tampering/shell-history-cleared": ": >.ash_history; ln -sf /dev/null .ash_history",
    "tampering/bulk-deletion": """
        mkdir -p /srv/d; n=0; while [ $n -lt 510 ]; do : >/srv/d/$n; n=$((n + 1)); done
        rm -r /srv/d""",
    "tampering/bulk-renaming": """
        mkdir -p r; for n in $(seq 50); do : >r/$n; mv r/$n r/$n.locked; done""",
    "tampering/protection-lowered": ": >>/proc/sys/kernel/randomize_va_space",
    "tampering/machine-controlled": ": >>/proc/sys/kernel/panic",
    "tampering/kernel-setting-written": ": >>/proc/sys/vm/swappiness",
    "tampering/name-resolution-written": ": >>/etc/nsswitch.conf",
    "tampering/authority-added": """
        mkdir -p /usr/local/share/ca-certificates; : >/usr/local/share/ca-certificates/x.crt""",
    "tampering/long-path-changed": """
        n=$(printf '%0200d' 0); mkdir -p $n/$n; : >$n/$n/a""",
    "tampering/other-container-signalled": "kill -CONT $victim",
}
"""What breaks a rule: a line of shell, run by root in a privileged container."""

NOT_DONE = {
    "container-escape/node-folder-mounted": "the pod begins before the policy; tests/bpf tries it",
    "execution/dropped-executed": "the file has to be ten minutes old, by a time that none can set",
}
"""Why some are not tried."""


DISGUISED = {
    "container-escape/user-namespace-made": "deed old-user-namespace",
    "container-escape/static-pod-written": """
        mkdir -p /etc/kubernetes/manifests d; mount -o bind /etc/kubernetes/manifests d
        : >d/deed.yaml; umount d""",
    "persistence/timed-job-written": """
        mkdir -p /etc/cron.d c; mount -o bind /etc/cron.d c; cd c; : >deed; cd ..; umount c""",
    "sensitive-files/password-hashes-read": """
        mkdir -p e; mount -o bind /etc e; : >>e/shadow; umount e""",
    "tampering/kernel-setting-written": """
        mkdir -p k; mount -o bind /proc/sys/vm k; : >>k/swappiness; umount k""",
}
"""The same by ways that hide it: another way into the kernel, other places of the same files."""


def test_every_rule_is_tried_or_it_is_said_why_not():
    assert {*DEEDS, *NOT_DONE} == set(RULES)
    assert not set(DEEDS) & set(NOT_DONE)


@pytest.fixture(scope="module")
def deed(tmp_path_factory):
    program = tmp_path_factory.mktemp("deeds") / "deed"
    flags = ("-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror")
    subprocess.run(["gcc", *flags, "-o", program, SOURCE], check=True)
    return base64.b64encode(program.read_bytes()).decode()


def attacker_of(namespace):
    """A pod with all rights, which sees the node's processes, and another container to attack."""
    shared = {"image": "localhost/eunomia-workload:dev", "imagePullPolicy": "Never"}
    rights = {
        "securityContext": {"privileged": True},
        "volumeMounts": [
            {"name": "temporary", "mountPath": "/var/tmp"},
            {"name": "engine", "mountPath": "/run/engine"},
            {"name": "node", "mountPath": "/node"},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "attacker", "namespace": namespace},
        "spec": {
            "hostPID": True,
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "containers": [{**ATTACKER, **shared, **rights}, {**VICTIM, **shared}],
            "volumes": [
                {"name": "temporary", "emptyDir": {}},
                {"name": "node", "hostPath": {"path": "/"}},
                {"name": "engine", "hostPath": {"path": str(layout.CONTAINERD_SOCKET.parent)}},
            ],
        },
    }


def policy_of(namespace, *groups):
    return {
        "apiVersion": "eunomia.dev/v1alpha1",
        "kind": "SecurityPolicy",
        "metadata": {"name": "watched", "namespace": namespace},
        "spec": {"target": {"podSelector": {}}, "rules": {"builtIn": list(groups)}},
    }


@pytest.fixture
def attacker(kubectl, namespace, deed):
    """Runs a line of shell in the attacker's container, and gives what it prints."""
    kubectl.apply(attacker_of(namespace))
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "--timeout=60s", "pod/attacker")
    inside = ("-n", namespace, "exec", "-i", "attacker", "-c", "attacker", "--", "/bin/sh", "-c")
    put = "base64 -d >/tmp/deed && chmod +x /tmp/deed && ip address add 192.0.2.1/32 dev lo"
    ended = kubectl.run(*inside, put, text=deed)
    assert ended.returncode == 0, ended.stderr

    def run(command):
        ended = kubectl.run(*inside, PRELUDE + command)
        return f"{ended.stdout}{ended.stderr}".strip()

    return run


@pytest.fixture
def alerts(kubectl, namespace, attacker, until):
    """Does deeds under some groups of rules, and gives the alert of each by its rule."""

    def find(groups, deeds):
        return alerts_of_deeds(kubectl, namespace, attacker, until, groups, deeds)

    return find


def alerts_of_deeds(kubectl, namespace, attacker, until, groups, deeds):
    kubectl.apply(policy_of(namespace, *groups))
    policy = ("-n", namespace, "securitypolicy/watched")
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "--timeout=60s", policy[2])
    wanted = set(deeds)
    said = {name: attacker(deeds[name]) for name in sorted(wanted)}
    told = {}

    def all_told():
        found = kubectl.run("-n", namespace, "get", "alertreport/watched", "--output=json")
        told.update(alerts_of(found))
        return wanted <= set(told)

    try:
        until(all_told, 60, f"alerts of {', '.join(groups)}")
    except AssertionError:
        missing = {name: said[name] for name in wanted - set(told)}
        status = kubectl.get(*policy).get("status", {})
        pytest.fail(f"no alerts of {missing}; status {status}")
    return {name: told[name] for name in wanted}


@pytest.mark.timeout(300, func_only=True)
@pytest.mark.parametrize("group", built_in().groups)
def test_every_deed_is_told_of(namespace, alerts, group):
    deeds = {name: deed for name, deed in DEEDS.items() if name.startswith(f"{group}/")}
    for name, alert in alerts([group], deeds).items():
        assert (alert["namespace"], alert["pod"]) == (namespace, "attacker")
        assert alert["severity"] == RULES[name].severity
        assert alert["tags"] == RULES[name].tags
        assert alert["message"]
        assert alert["evidence"]


@pytest.mark.timeout(300, func_only=True)
def test_no_other_way_to_the_same_file_or_call_hides_a_deed(alerts):
    groups = sorted({name.partition("/")[0] for name in DISGUISED})
    evidence = {
        name: json.loads(alert["evidence"]) for name, alert in alerts(groups, DISGUISED).items()
    }
    assert {row["path"]: row["filesystem_path"] for row in evidence.values() if "path" in row} == {
        "/tmp/d/deed.yaml": "/etc/kubernetes/manifests/deed.yaml",
        "/tmp/c/deed": "/etc/cron.d/deed",
        "/tmp/e/shadow": "/etc/shadow",
        "/tmp/k/swappiness": "/sys/vm/swappiness",
    }


def alerts_of(found):
    """The alerts of a report by their rule; none while there is no report."""
    report = json.loads(found.stdout) if found.returncode == 0 else {}
    return {alert["rule"]: alert for alert in report.get("alerts", [])}


def test_an_ordinary_pod_is_not_told_of(cluster, kubectl, namespace, until):
    """A server that starts, listens, answers, and is looked into by kubectl exec."""
    kubectl.apply(
        {
            **policy_of(namespace, ""),
            "spec": {
                "target": {"podSelector": {}},
                "rules": {"builtIn": list(built_in().groups)},
            },
        }
    )
    policy = ("-n", namespace, "securitypolicy/watched")
    kubectl("-n", namespace, "wait", "--for=condition=Accepted", "--timeout=60s", policy[2])
    serve = "mkdir /tmp/www && echo hello >/tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"
    cluster.pod(namespace, "server", "/bin/sh", "-c", serve)
    kubectl("-n", namespace, "wait", "--for=condition=Ready", "--timeout=60s", policy[2])
    for _ in range(5):
        assert "hello" in cluster.shell(namespace, "server", "wget -q -O - http://127.0.0.1:8080/")
    cluster.shell(namespace, "server", "cat /proc/self/environ >/dev/null; : >/etc/shadow")
    expected = {"sensitive-files/environment-read", "sensitive-files/password-hashes-read"}

    def told():
        return set(
            alerts_of(kubectl.run("-n", namespace, "get", "alertreport/watched", "--output=json"))
        )

    until(lambda: expected <= told(), 60, "the alerts that tell that the rules are judged")
    assert told() == {*expected, "persistence/user-database-written"}


@contextmanager
def busy(spinners, seconds):
    """Load on the machine, which ends by itself at the latest."""
    spin = f"import time\nend = time.time() + {seconds}\nwhile time.time() < end: pass"
    with ExitStack() as stack:
        for _ in range(spinners):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-S", "-c", spin]))
            stack.callback(process.kill)
        yield


@pytest.mark.timeout(400, func_only=True)
def test_twenty_pods_that_start_on_a_busy_machine_raise_no_alarm(
    cluster, kubectl, namespace, until
):
    """Trackers are attached when the first of them comes, and its runtime has begun by then."""
    kubectl.apply(policy_of(namespace, *built_in().groups))
    policy = ("-n", namespace, "securitypolicy/watched")
    kubectl("-n", namespace, "wait", "--for=condition=Accepted", "--timeout=60s", policy[2])
    with busy(8, 300):
        for number in range(20):
            cluster.pod(namespace, f"pod-{number}", ready=False)
        ready = ("wait", "--for=condition=Ready", "--timeout=240s", "pod", "--all")
        kubectl("-n", namespace, *ready)
        for number in range(3):
            cluster.shell(namespace, f"pod-{number}", "true")
    cluster.shell(namespace, "pod-19", "chroot / /bin/true")

    def told():
        found = kubectl.run("-n", namespace, "get", "alertreport/watched", "--output=json")
        report = json.loads(found.stdout) if found.returncode == 0 else {}
        return {(alert["rule"], alert["pod"]) for alert in report.get("alerts", [])}

    until(told, 60, "the alert that tells that the rules are judged")
    assert told() == {("container-escape/root-changed", "pod-19")}
