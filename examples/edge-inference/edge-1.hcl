# The relayer of the first edge. Its notifier tells the program beside it what has changed here.
node_id  = "edge-1"
data_dir = "${env("DATA", "edge-inference-data")}/edge-1"

listener "http" { address = "127.0.0.1:4810" }
listener "grpc" { address = "127.0.0.1:4811" }

relayer {
  upstream "hub" {
    addresses  = ["127.0.0.1:4801"]
    namespaces = ["inference"]
  }
}

namespace "inference" {
  notifier "zeromq" { bind_port = 4815 }
}
