"""Constants of filter rules: protocols by name, TCP flags, and the number of rule slots."""

# IANA's protocol numbers, by the names in rules.
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmpv6": 58, "sctp": 132}
# Of the TCP header (RFC 9293, section 3.1).
TCP_FLAGS = {"fin": 0x01, "syn": 0x02, "rst": 0x04, "psh": 0x08, "ack": 0x10, "urg": 0x20, "ece": 0x40, "cwr": 0x80}
# As in kernel/bpf/counts.h: slots for rules of operators, and as many for rules of detection.
MAX_RULES = 64
SLOTS = 2 * MAX_RULES
