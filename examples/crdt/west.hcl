# The hub of the west. It owns crdt-west, and has a copy of what the east writes.
node_id  = "west"
region   = "west"
data_dir = "${env("DATA")}/west"

listener "http" { address = "127.0.0.1:4910" }
listener "grpc" {
  address   = "127.0.0.1:4911"
  advertise = "127.0.0.1:4913" # the east reaches it through the link, which can be cut
}

raft {
  address          = "127.0.0.1:4912"
  advertise        = "127.0.0.1:4914"
  bootstrap_expect = 2
  join             = ["127.0.0.1:4903", "127.0.0.1:4913"]
}

namespace "crdt-west" {
  replicate {
    hubs     = ["*"]
    relayers = ["*"]
  }
}
