# The hub of the west: it owns orders-west, and has a copy of
# what the east owns.
node_id  = "west"
region   = "west"
data_dir = "${env("DATA", "data")}/west"

listener "http" { address = "127.0.0.1:4200" }
listener "grpc" { address = "127.0.0.1:4201" }

raft {
  address          = "127.0.0.1:4202"
  bootstrap_expect = 2
  join             = ["127.0.0.1:4101", "127.0.0.1:4201"]
}

namespace "orders-west" {
  replicate {
    hubs     = ["*"]
    relayers = ["*"]
  }
}

# Prices are made in the west and needed by western stores only.
namespace "prices-west" {
  replicate {
    selector = { region = "west" }
  }
}
