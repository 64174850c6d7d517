"""A real Kubernetes control plane for tests: etcd and kube-apiserver, on loopback, with real authorization.

For what only the real API server can tell: whether the rights that a service asks for are enough, what a rule of a
definition refuses, what kubectl shows. Nodes, controllers and a scheduler it has not: pods are objects, and a namespace
that is deleted stays. ::

    with ControlPlane(folder, binaries()) as plane:
        tenant = plane.tenant("shop", rules)
        async with LocalCluster(other, settings=ClusterSettings(api=tenant)):
            ...

``make test-kubernetes`` builds the binaries; KUBEBUILDER_ASSETS names a folder that has them.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from dstk import kube
from dstk.errors import ConfigError, DstkError, Unavailable
from dstk.local.apiserver.files import poll, write_text
from dstk.local.process import CrashBackoff, Supervised

__all__ = ["BINARIES", "AuditEvent", "ControlPlane", "Tenant", "binaries"]

T = TypeVar("T")

BINARIES: Final = ("etcd", "kube-apiserver", "kubectl")

START_SECONDS = 120.0
"""For etcd and the API server to answer, on a machine that is busy with other things."""

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_GRACE_SECONDS = 10.0
_TOKEN_SECONDS = 24 * 3600
_OPERATOR = "dstk-operator"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}


def binaries() -> Path:
    """The folder that has :data:`BINARIES`: what KUBEBUILDER_ASSETS names, else the newest that was built here.

    Raises ConfigError when there is none.
    """
    named = os.environ.get("KUBEBUILDER_ASSETS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dstk" / "kubernetes"
    built = sorted(cache.glob("v*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in [Path(named)] if named else built:
        if all((folder / name).exists() for name in BINARIES):
            return folder
    where = f"{named} has not all of {', '.join(BINARIES)}" if named else f"there is nothing in {cache}"
    raise ConfigError(f"no Kubernetes to test with: {where}; `make test-kubernetes` builds it")


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One request of a ServiceAccount, as the API server logged it. `resource` has its subresource: pods/status."""

    account: str
    """namespace:name"""
    verb: str
    group: str
    resource: str
    path: str
    code: int
    allowed: bool
    reason: str
    """Why it was allowed or not, in the authorizer's words."""


class ControlPlane:
    """etcd and kube-apiserver with their files in `directory`. A context manager, to be used from any thread.

    Whatever happens to this process, both die with it. Of several operations at once, each is done in turn.
    """

    def __init__(self, directory: Path, binaries: Path) -> None:
        self.directory = directory.resolve()
        self.kubeconfig = self.directory / "admin.kubeconfig"
        """Of an administrator, who may do everything."""
        self.binaries = binaries
        self._files = self.directory / "files"
        self._admin_token = secrets.token_urlsafe(24)
        self._etcd_port, self._peer_port, self._port = _free_ports(3)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        backoff = CrashBackoff(first=0.02, longest=1.0)
        logs = self.directory / "logs"
        self._etcd = Supervised(
            "etcd", self._etcd_command, logs / "etcd.log", grace_seconds=_GRACE_SECONDS, backoff=backoff
        )
        self._api = Supervised(
            "kube-apiserver", self._api_command, logs / "apiserver.log", grace_seconds=_GRACE_SECONDS, backoff=backoff
        )
        self._connection: kube.Connection | None = None

    @property
    def url(self) -> str:
        return f"https://{_HOST}:{self._port}"

    def __enter__(self) -> ControlPlane:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start both and wait until the API server is ready. Raises Unavailable when it does not get so far."""
        self._loop = asyncio.new_event_loop()
        # The children die when the thread ends that started them, so it has to be one that stays.
        self._thread = threading.Thread(target=self._loop.run_forever, name="control plane", daemon=True)
        self._thread.start()
        try:
            self._run(self._start())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End both. Their files stay."""
        if self._loop is None or self._thread is None:
            return
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the API server; it is started again when that ends it."""
        self._called(self._api.kill, number)

    def restart(self) -> None:
        """End the API server by SIGTERM; returns when the next one is ready."""
        self._run(self._restart())

    def tail(self) -> str:
        """What the API server has logged last."""
        return self._api.tail()

    def namespace(self, name: str) -> Path:
        """Have that namespace; an administrator's kubeconfig whose context is there."""
        self._run(self._apply(f"/api/v1/namespaces/{name}", {"apiVersion": "v1", "kind": "Namespace"}))
        path = self.directory / f"{name}.admin.kubeconfig"
        self._write_kubeconfig(path, name, self._admin_token)
        return path

    def service_account(self, namespace: str, name: str, rules: Sequence[Mapping[str, Any]]) -> Path:
        """Have a ServiceAccount that may do what the rules of a Role say, and nothing else; its kubeconfig.

        It has a token of the TokenRequest API, as a pod has.
        """
        token = self._run(self._service_account(namespace, name, rules))
        path = self.directory / f"{namespace}.{name}.kubeconfig"
        self._write_kubeconfig(path, namespace, token)
        return path

    def tenant(self, namespace: str, rules: Sequence[Mapping[str, Any]]) -> Tenant:
        """A namespace for a :class:`dstk.local.cluster.LocalCluster` whose operator has these rights and no others."""
        return Tenant(self, self.namespace(namespace), self.service_account(namespace, _OPERATOR, rules))

    def audit(self) -> Iterator[AuditEvent]:
        """All requests of ServiceAccounts that have been answered so far, watches when they ended."""
        # Written when the request is answered, in whole lines, by a process that may be writing another just now.
        for line in (self._files / "audit.log").read_text().splitlines():
            said = json.loads(line)
            _, _, account = said["user"]["username"].partition("serviceaccount:")
            about, notes = said.get("objectRef", {}), said.get("annotations", {})
            yield AuditEvent(
                account=account,
                verb=said["verb"],
                group=about.get("apiGroup", ""),
                resource="/".join(filter(None, (about.get("resource", ""), about.get("subresource", "")))),
                path=said["requestURI"],
                code=said.get("responseStatus", {}).get("code", 0),
                allowed=notes.get("authorization.k8s.io/decision") == "allow",
                reason=notes.get("authorization.k8s.io/reason", ""),
            )

    # Starting and stopping

    async def _start(self) -> None:
        self._write_files()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._etcd.start()
                await self._api.start()
                self._write_kubeconfig(self.kubeconfig, "default", self._admin_token)
                self._connection = await kube.connect(self.kubeconfig)
                await poll(self._ready, _POLL_SECONDS)
        except TimeoutError:
            said = self._api.tail() or self._etcd.tail()
            raise Unavailable(f"kube-apiserver was not ready within {START_SECONDS:g} s: {said}") from None

    async def _stop(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
        await self._api.stop()
        await self._etcd.stop()

    async def _restart(self) -> None:
        await self._api.restart()
        await poll(self._ready, _POLL_SECONDS)

    async def _ready(self) -> bool:
        assert self._connection is not None
        try:
            await self._connection.request("GET", "/readyz")
        except DstkError:
            return False
        return True

    def _etcd_command(self) -> Sequence[str]:
        client, peer = (f"http://{_HOST}:{port}" for port in (self._etcd_port, self._peer_port))
        return [
            str(self.binaries / "etcd"),
            f"--data-dir={self.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",  # nobody needs it after a power cut
        ]

    def _api_command(self) -> Sequence[str]:
        files = self._files
        return [
            str(self.binaries / "kube-apiserver"),
            f"--etcd-servers=http://{_HOST}:{self._etcd_port}",
            f"--bind-address={_HOST}",
            f"--advertise-address={_HOST}",
            f"--secure-port={self._port}",
            f"--tls-cert-file={files / 'serving.crt'}",
            f"--tls-private-key-file={files / 'serving.key'}",
            f"--token-auth-file={files / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files / 'accounts.pub'}",
            f"--service-account-signing-key-file={files / 'accounts.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # It gives every pod a ServiceAccount of its namespace, which a controller makes that is not here.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            f"--audit-policy-file={files / 'audit.json'}",
            f"--audit-log-path={files / 'audit.log'}",
            "--audit-log-mode=blocking",
        ]

    def _write_files(self) -> None:
        self._files.mkdir(parents=True, exist_ok=True)
        self._files.chmod(0o700)
        write_text(self._files / "tokens.csv", f'{self._admin_token},admin,admin,"system:masters"\n', mode=0o600)
        write_text(self._files / "audit.json", json.dumps(_AUDIT_POLICY))
        curve = ["-pkeyopt", "ec_paramgen_curve:P-256"]
        serving = ["-keyout", "serving.key", "-out", "serving.crt", "-subj", "/CN=kube-apiserver", "-days", "7"]
        names = f"subjectAltName=IP:{_HOST},DNS:localhost"
        self._openssl("req", "-x509", "-newkey", "ec", *curve, "-nodes", *serving, "-addext", names)
        self._openssl("genpkey", "-algorithm", "EC", *curve, "-out", "accounts.key")
        self._openssl("pkey", "-in", "accounts.key", "-pubout", "-out", "accounts.pub")

    def _openssl(self, *arguments: str) -> None:
        found = shutil.which("openssl")
        if found is None:
            raise ConfigError("there is no openssl, which makes the control plane's keys")
        done = subprocess.run([found, *arguments], cwd=self._files, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"openssl {arguments[0]}: {done.stderr.strip()}")

    def _write_kubeconfig(self, path: Path, namespace: str, token: str) -> None:
        server = {"server": self.url, "certificate-authority": str(self._files / "serving.crt")}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user", "namespace": namespace}}],
            "current-context": "test",
        }
        write_text(path, json.dumps(config, indent=2) + "\n", mode=0o600)

    # Objects

    async def _apply(self, path: str, body: Mapping[str, Any]) -> None:
        assert self._connection is not None
        name = path.rpartition("/")[2]
        body = {**body, "metadata": {**body.get("metadata", {}), "name": name}}
        await kube.apply(self._connection, path, body, manager="dstk-testing")

    async def _service_account(self, namespace: str, name: str, rules: Sequence[Mapping[str, Any]]) -> str:
        assert self._connection is not None
        account = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
        rbac = f"{_RBAC}/namespaces/{namespace}"
        version = "rbac.authorization.k8s.io/v1"
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        binding = {"apiVersion": version, "kind": "RoleBinding", "subjects": [subject], "roleRef": role}
        await self._apply(account, {"apiVersion": "v1", "kind": "ServiceAccount"})
        await self._apply(f"{rbac}/roles/{name}", {"apiVersion": version, "kind": "Role", "rules": list(rules)})
        await self._apply(f"{rbac}/rolebindings/{name}", binding)
        asked = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": _TOKEN_SECONDS},
        }
        answer = json.loads(await self._connection.request("POST", f"{account}/token", body=asked))
        return str(answer["status"]["token"])

    # Threads

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _called(self, call: Callable[..., None], *arguments: Any) -> None:
        async def work() -> None:
            call(*arguments)

        self._run(work())


class Tenant:
    """A namespace of a control plane, as the API server of a local cluster, whose operator is a ServiceAccount."""

    def __init__(self, plane: ControlPlane, kubeconfig: Path, operator_kubeconfig: Path) -> None:
        self.plane = plane
        self.kubeconfig = kubeconfig
        self.operator_kubeconfig = operator_kubeconfig

    async def start(self) -> None:
        """It runs already."""

    async def stop(self) -> None:
        """It is the plane's to stop."""

    async def restart(self) -> None:
        await asyncio.to_thread(self.plane.restart)

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.plane.kill(number)

    def describe(self) -> str:
        return self.plane.tail()


def _free_ports(count: int) -> list[int]:
    """Free ports of loopback, all different. They are held until all are drawn."""
    held = [socket.create_server((_HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
