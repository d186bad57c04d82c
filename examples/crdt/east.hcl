# The hub of the east. It owns crdt-east, and has a copy of what the west writes.
node_id  = "east"
region   = "east"
data_dir = "${env("DATA")}/east"

listener "http" { address = "127.0.0.1:4900" }
listener "grpc" {
  address   = "127.0.0.1:4901"
  advertise = "127.0.0.1:4903" # the west reaches it through the link, which can be cut
}

raft {
  address          = "127.0.0.1:4902"
  advertise        = "127.0.0.1:4904"
  bootstrap_expect = 2
  join             = ["127.0.0.1:4903", "127.0.0.1:4913"]
}

namespace "crdt-east" {
  replicate {
    hubs     = ["*"]
    relayers = ["*"]
  }
}
