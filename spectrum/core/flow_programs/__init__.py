"""Flow programs: operators' programs that judge datagrams to their apps."""
