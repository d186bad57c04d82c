# The hub that owns the catalog.
node_id  = "hub"
data_dir = "${env("DATA")}/hub"

listener "http" { address = "127.0.0.1:5200" }
listener "grpc" { address = "127.0.0.1:5201" }

namespace "catalog" {
  replicate { relayers = ["*"] }
}
