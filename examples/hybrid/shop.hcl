# A shop: it follows the orders, tells the programs beside it,
# and owns what it sells itself.
node_id  = "shop"
data_dir = "${env("DATA", "data")}/shop"

listener "http" { address = "127.0.0.1:4710" }

relayer {
  own "shop-sales" {} # written here, with or without a hub
  upstream "hub" {
    addresses = ["127.0.0.1:4701"]
  }
}

namespace "orders" {
  notifier "zeromq" {
    bind_port = 4715 # to programs on this machine
  }
}
