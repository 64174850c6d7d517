"""Where the Kubernetes API is and who we are there: a kubeconfig file, or the pod's service account."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import (
    ConfigException,
    load_incluster_config,
    load_kube_config,
)

from dstk.errors import ConfigError
from dstk.kube.connection import Connection

__all__ = ["client_of", "connect"]

SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

DEFAULT_KUBECONFIG = "~/.kube/config"

CONNECTIONS = 128
"""Parallel requests to the API server; watches take one each."""


async def connect(kubeconfig: str | os.PathLike[str] | None = None, context: str | None = None) -> Connection:
    """Connect to the API server that a kubeconfig names.

    ``kubeconfig`` is a path; without one, ``$KUBECONFIG``, then the pod's service account, then ``~/.kube/config``.
    Opens no socket yet. Raises ConfigError when there is no usable configuration.
    """
    configuration = Configuration()
    named = os.fspath(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG") or None
    try:
        if named is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            namespace = _read_namespace() or "default"
        else:
            path = named or DEFAULT_KUBECONFIG
            if not _exists(path):
                raise ConfigError(f"kubeconfig {path!r} does not exist; name one with --kubeconfig or $KUBECONFIG")
            loader = await load_kube_config(  # type: ignore[no-untyped-call]
                config_file=path, context=context, client_configuration=configuration, persist_config=False
            )
            namespace = str(loader.current_context["context"].get("namespace") or "default")
    except ConfigException as error:
        raise ConfigError(f"no usable Kubernetes configuration: {error}; name one with --kubeconfig") from error
    except (OSError, ValueError, TypeError, AttributeError, LookupError, yaml.YAMLError) as error:
        # The loader takes the file for what it should be, and raises whatever comes of that.
        raise ConfigError(f"kubeconfig {named or DEFAULT_KUBECONFIG!r} cannot be read: {error}") from error
    if not urlsplit(str(configuration.host)).hostname:
        raise ConfigError(f"kubeconfig {named or DEFAULT_KUBECONFIG!r} names no server, but {configuration.host!r}")
    return Connection(client_of(configuration), namespace)


def client_of(configuration: Configuration) -> ApiClient:
    """A client for a complete configuration.

    Which proxy the environment asks for is looked up once. aiohttp's ``trust_env`` would look for it, and for a netrc
    file, twice a request on another thread, which costs as much as the rest of the request.
    """
    configuration.connection_pool_maxsize = CONNECTIONS
    configuration.client_session_kwargs = {"trust_env": False}
    if configuration.proxy is None:
        configuration.proxy = _proxy_of(str(configuration.host))
    return ApiClient(configuration)


def _proxy_of(server: str) -> str | None:
    parts = urlsplit(server)
    if not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def _read_namespace() -> str | None:
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip() or None
    except OSError:
        return None


def _exists(paths: str) -> bool:
    return any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path)
