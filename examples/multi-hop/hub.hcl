# The hub: it takes all writes.
node_id  = "hub"
data_dir = "${env("DATA", "data")}/hub"

listener "http" { address = "127.0.0.1:4600" }
listener "grpc" { address = "127.0.0.1:4601" }

namespace "catalog" {}
