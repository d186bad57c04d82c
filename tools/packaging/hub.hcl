# A hub on this machine. `unisondb config validate -role=hub /etc/unisondb/hub.hcl` checks this file.

# node_id = "hub-1"  # default: the host name
data_dir = "/var/lib/unisondb"

listener "http" { address = "127.0.0.1:4000" }

# What relayers dial. On an address that other machines reach it needs TLS:
#   address = "0.0.0.0:4001"
#   tls {
#     cert_file           = "/etc/unisondb/tls/hub-1.crt"
#     key_file            = "/etc/unisondb/tls/hub-1.key"
#     ca_file             = "/etc/unisondb/tls/ca.crt"
#     require_client_cert = true
#   }
listener "grpc" {
  address = "127.0.0.1:4001"
}

namespace "default" {}
