# The hub that owns the board.
node_id  = "hub"
data_dir = "${env("DATA")}/hub"

listener "http" { address = "127.0.0.1:5000" }
listener "grpc" { address = "127.0.0.1:5001" }

namespace "board" {
  replicate { relayers = ["*"] }
}
