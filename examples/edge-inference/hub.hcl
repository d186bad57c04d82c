# The hub, where models are trained and published.
node_id  = "hub"
data_dir = "${env("DATA", "edge-inference-data")}/hub"

listener "http" { address = "127.0.0.1:4800" }
listener "grpc" { address = "127.0.0.1:4801" } # relayers dial it
raft { address = "127.0.0.1:4802" }

namespace "inference" {
  replicate { relayers = ["edge-*"] }
}
