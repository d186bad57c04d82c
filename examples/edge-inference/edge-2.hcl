# The relayer of the second edge. Its notifier tells the program beside it what has changed here.
node_id  = "edge-2"
data_dir = "${env("DATA", "edge-inference-data")}/edge-2"

listener "http" { address = "127.0.0.1:4820" }
listener "grpc" { address = "127.0.0.1:4821" }

relayer {
  upstream "hub" {
    addresses  = ["127.0.0.1:4801"]
    namespaces = ["inference"]
  }
}

namespace "inference" {
  notifier "zeromq" { bind_port = 4825 }
}
