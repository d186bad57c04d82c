# The hub of the east: it owns orders-east, and replicates what the west owns.
node_id  = "east"
region   = "east"
data_dir = "${env("MULTI_HUB_DATA", "multi-hub-data")}/east"

listener "http" { address = "127.0.0.1:4100" }
listener "grpc" { address = "127.0.0.1:4101" } # relayers and the other hub dial it

# The two hubs agree on who owns and who receives what. Data needs no agreement: each hub
# goes on with its own namespaces when the other one is away.
raft {
  address          = "127.0.0.1:4102"
  bootstrap_expect = 2
  join             = ["127.0.0.1:4101", "127.0.0.1:4201"]
}

namespace "orders-east" {
  replicate {
    hubs     = ["*"]                 # the west has a copy and serves reads from it
    relayers = ["*"]                 # all relayers have it, each from its own hub
  }
}
