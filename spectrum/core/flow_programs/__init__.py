"""Flow programs: operators' own programs, which judge datagrams to where their apps are served."""
