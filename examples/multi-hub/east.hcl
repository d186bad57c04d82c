# The hub of the east: it owns orders-east, and has a copy of
# what the west owns.
node_id  = "east"
region   = "east"
data_dir = "${env("DATA", "data")}/east"

listener "http" { address = "127.0.0.1:4100" }
listener "grpc" { address = "127.0.0.1:4101" } # for relayers and hubs

# The two agree on who owns and who receives what. Data needs no
# agreement: each goes on with its own when the other is away.
raft {
  address          = "127.0.0.1:4102"
  bootstrap_expect = 2
  join             = ["127.0.0.1:4101", "127.0.0.1:4201"]
}

namespace "orders-east" {
  replicate {
    hubs     = ["*"] # the west has a copy, and serves reads from it
    relayers = ["*"] # all relayers have it, each from its own hub
  }
}
