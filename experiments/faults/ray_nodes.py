"""A Ray cluster of two nodes on this machine, with one CPU each: `python -m experiments.faults.ray_nodes`.

It writes the cluster's address to `address.txt`. At SIGUSR1 one node dies and another one joins; at SIGTERM all end.
"""

from __future__ import annotations

import signal
from pathlib import Path

ADDRESS = "address.txt"


def main() -> None:
    """Keeps the cluster until it is told to end it."""
    from ray.cluster_utils import Cluster

    told = {signal.SIGUSR1, signal.SIGTERM}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        signal.pthread_sigmask(signal.SIG_BLOCK, told)
        Path(ADDRESS).write_text(cluster.address)
        while signal.sigwait(told) == signal.SIGUSR1:
            cluster.remove_node(node, allow_graceful=False)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, told)  # a node's processes have what this one has
            node = cluster.add_node(num_cpus=1)
            signal.pthread_sigmask(signal.SIG_BLOCK, told)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
