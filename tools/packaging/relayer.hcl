# A relayer on this machine. `unisondb config validate -role=relayer /etc/unisondb/relayer.hcl` checks this file.

# node_id = "edge-1"  # default: the host name
data_dir = "/var/lib/unisondb"

# Local reads.
listener "http" { address = "127.0.0.1:4000" }

relayer {
  upstream "hub" {
    addresses  = ["hub-1.example.com:4001"] # tried in order
    namespaces = ["default"]
    tls {
      ca_file   = "/etc/unisondb/tls/ca.crt"
      cert_file = "/etc/unisondb/tls/edge-1.crt"
      key_file  = "/etc/unisondb/tls/edge-1.key"
    }
  }
}
