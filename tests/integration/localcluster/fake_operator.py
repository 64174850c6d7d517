"""A process that takes the operator's two leases, as the operator does when it leads, and waits."""

from __future__ import annotations

import argparse
import asyncio

from dstk import kube


async def lead(kubeconfig: str, namespace: str) -> None:
    connection = await kube.connect(kubeconfig)
    leases = kube.Objects(connection, kube.LEASES, namespace)
    for name in ("dstk-assigner", "dstk-reconciler"):
        spec = {"holderIdentity": "fake", "leaseTransitions": 0}
        found = await leases.find(name)
        if found is None:
            await leases.create({"metadata": {"name": name}, "spec": spec})
        else:
            taken = {"spec": {"leaseTransitions": (found.spec.lease_transitions or 0) + 1}}
            await leases.patch(name, taken)
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", required=True)
    arguments = parser.parse_args()
    asyncio.run(lead(arguments.kubeconfig, arguments.namespace))


if __name__ == "__main__":
    main()
