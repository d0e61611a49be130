"""Brokers in network namespaces of their own, on one bridge, where packets between any two can be dropped.

Clients run in the namespace of the bridge (`hub_prefix`) and reach every broker, whatever brokers cannot reach. Packets
are dropped where they would arrive: dropping them where they leave would tell the sender.

    network = Network(3)                     # raises NotPermitted where namespaces cannot be made
    network.block(1, 2)                      # what 1 sends to 2 is lost; 2 still reaches 1
    network.isolate(1)                       # 1 and all the others, both ways
    network.heal()
    network.close()
"""
import os
import subprocess

from privileged import NotPermitted, run

_NET = "10.231.7"
_CLIENT_PORT = 7440
_INTERNAL_PORT = 7441


class Network:
    def __init__(self, count):
        self.nodes = range(1, count + 1)
        try:
            self._make()
        except (NotPermitted, OSError) as error:
            self.close()
            raise NotPermitted(str(error)) from error

    def _make(self):
        hub = self._name("hub")
        run("ip", "netns", "add", hub)
        run("ip", "-n", hub, "link", "add", "bridge0", "type", "bridge")
        run("ip", "-n", hub, "address", "add", f"{_NET}.254/24", "dev", "bridge0")
        run("ip", "-n", hub, "link", "set", "bridge0", "up")
        for node in self.nodes:
            name = self._name(node)
            run("ip", "netns", "add", name)
            run("ip", "-n", hub, "link", "add", f"to{node}", "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "-n", hub, "link", "set", f"to{node}", "master", "bridge0", "up")
            run("ip", "-n", name, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            run("ip", "-n", name, "link", "set", "lo", "up")
            self._iptables(node, "--list")

    @staticmethod
    def _name(node):
        return f"millrace-{os.getpid()}-{node}"

    def _iptables(self, node, *arguments):
        run(*self.prefix(node), "iptables", "--wait", *arguments)

    @staticmethod
    def address(node):
        return f"{_NET}.{node}"

    def prefix(self, node):
        """What to put before a command so that it runs as this node; it becomes the command by exec."""
        # Not `ip netns exec`: that makes a mount namespace, too, which would keep every disk mounted.
        return ["nsenter", f"--net=/run/netns/{self._name(node)}"]

    @property
    def hub_prefix(self):
        return self.prefix("hub")

    def block(self, sender, receiver):
        self._iptables(receiver, "--append", "INPUT", "--source", self.address(sender), "--jump", "DROP")

    def cut(self, one, other):
        self.block(one, other)
        self.block(other, one)

    def isolate(self, node):
        for other in self.nodes:
            if other != node:
                self.cut(node, other)

    def heal(self):
        for node in self.nodes:
            self._iptables(node, "--flush", "INPUT")

    def close(self):
        """Pre: what ran there has ended. Links go with their namespaces."""
        for node in [*self.nodes, "hub"]:
            subprocess.run(["ip", "netns", "delete", self._name(node)], check=False, stderr=subprocess.DEVNULL)

    def adopt(self, cluster):
        """Gives each broker of a cluster that has not started its namespace and addresses there."""
        cluster.prefix = self.hub_prefix
        for broker_id, broker in cluster.brokers.items():
            broker.prefix = self.prefix(broker_id)
            broker.client_address = f"{self.address(broker_id)}:{_CLIENT_PORT}"
            broker.internal_address = f"{self.address(broker_id)}:{_INTERNAL_PORT}"
