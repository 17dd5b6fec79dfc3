"""The packet filter before the network stack (XDP); the program is bpf/filter.bpf.c."""

PROGRAM = "filter"
